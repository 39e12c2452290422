"""What users may do to tasks: real permissions of every task model."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.apps.registry import Apps
from django.db import router

from .task import SimpleTask

EXECUTE = "django_simpletask3_execute"
EXECUTE_HERE = "django_simpletask3_execute_here"
RESET = "django_simpletask3_reset"
RETRY = "django_simpletask3_retry"
CANCEL = "django_simpletask3_cancel"
FORCE_CANCEL = "django_simpletask3_force_cancel"
UNBLOCK = "django_simpletask3_unblock"
HOLD = "django_simpletask3_hold"
EXPORT = "django_simpletask3_export"

_NAME_TEMPLATES = {
    EXECUTE: "Can execute {}",
    EXECUTE_HERE: "Can execute {} in the web server",
    RESET: "Can reset {}",
    RETRY: "Can retry failed {}",
    CANCEL: "Can cancel {}",
    FORCE_CANCEL: "Can cancel {} by force",
    UNBLOCK: "Can unblock {}",
    HOLD: "Can hold {} and lift holds",
    EXPORT: "Can export streams of {}",
}
_NAME_LIMIT = 255


def codenames(action: str, model: type[SimpleTask]) -> tuple[str, str]:
    """The permissions, either of which allows ``action`` on ``model``, with their app label.

    The first is made by this package. The second, without the model's name, covers all task
    models of the app; projects that declared it in their ``Meta.permissions`` can go on with it.
    """
    label = model._meta.app_label
    return f"{label}.{action}_{model._meta.model_name}", f"{label}.{action}"


def may(user: Any, action: str, model: type[SimpleTask], task: SimpleTask | None = None) -> bool:
    """Whether ``user`` may do ``action`` to every task of ``model``, or to ``task``.

    A backend with permissions of objects, such as django-guardian's, is asked for the task.
    """
    names = codenames(action, model)
    if any(user.has_perm(name) for name in names):
        return True
    return task is not None and any(user.has_perm(name, task) for name in names)


def create_permissions(app_config: AppConfig, using: str, apps: Apps = installed, **_: Any) -> None:
    """After a migration: see that the permissions of the task models of ``app_config`` exist.

    They are no part of a model's Meta, so an own Meta does not lose them and no migration
    mentions them. ``apps`` is what is migrated so far: without Django's auth, nothing is made.
    """
    try:
        permission_model: Any = apps.get_model("auth", "Permission")
        content_types: Any = apps.get_model("contenttypes", "ContentType").objects
    except LookupError:
        return
    if not router.allow_migrate_model(using, permission_model):
        return
    config = installed.get_app_config(app_config.label)
    models = [model for model in config.get_models() if issubclass(model, SimpleTask)]
    required = {
        (_content_type(content_types, model, using), f"{action}_{model._meta.model_name}"): name
        for model in models
        for action, name in _permission_names(model).items()
    }
    rows = permission_model.objects.using(using)
    existing = rows.filter(content_type__in={content_type for content_type, _ in required})
    existing_keys = {(permission.content_type_id, permission.codename) for permission in existing}
    rows.bulk_create(
        permission_model(content_type=content_type, codename=codename, name=name)
        for (content_type, codename), name in required.items()
        if (content_type.pk, codename) not in existing_keys
    )


def _content_type(content_types: Any, model: type[SimpleTask], using: str) -> Any:
    return content_types.db_manager(using).get_for_model(model, for_concrete_model=False)


def _permission_names(model: type[SimpleTask]) -> dict[str, str]:
    # As it is in the source, whatever language the migration runs in.
    raw = model._meta.verbose_name_raw
    return {action: name.format(raw)[:_NAME_LIMIT] for action, name in _NAME_TEMPLATES.items()}

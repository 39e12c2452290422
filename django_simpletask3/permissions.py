"""Who may execute and reset tasks: real permissions of every task model."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.db import router

from .models import SimpleTask

EXECUTE = "django_simpletask3_execute"
RESET = "django_simpletask3_reset"

_NAMES = {EXECUTE: "Can execute {}", RESET: "Can reset {}"}


def codenames(action: str, model: type[SimpleTask]) -> tuple[str, str]:
    """The permissions, either of which allows ``action`` on ``model``, with their app label.

    The first is made by this package. The second, without the model's name, covers all task
    models of the app; projects that declared it in their ``Meta.permissions`` can go on with it.
    """
    label = model._meta.app_label
    return f"{label}.{action}_{model._meta.model_name}", f"{label}.{action}"


def may(user: Any, action: str, model: type[SimpleTask]) -> bool:
    """Whether ``user`` may do ``action`` to tasks of ``model``."""
    return any(user.has_perm(name) for name in codenames(action, model))


def create_permissions(app_config: AppConfig, using: str, **_: Any) -> None:
    """After a migration: see that the permissions of the task models of ``app_config`` exist.

    They are no part of a model's Meta, so an own Meta does not lose them and no migration
    mentions them.
    """
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    if not router.allow_migrate_model(using, Permission):
        return
    config = apps.get_app_config(app_config.label)
    models = [model for model in config.get_models() if issubclass(model, SimpleTask)]
    for model in models:
        content_type = ContentType.objects.db_manager(using).get_for_model(
            model, for_concrete_model=False
        )
        for action, name in _NAMES.items():
            Permission.objects.using(using).get_or_create(
                content_type=content_type,
                codename=f"{action}_{model._meta.model_name}",
                defaults={"name": name.format(model._meta.verbose_name_raw)[:255]},
            )

"""Refuse migrations that drop an event table with events, unless they have DropHistory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps.registry import Apps
from django.core.management.base import CommandError
from django.db import models, router
from django.db.migrations import Migration
from django.db.migrations.operations import CreateModel, DeleteModel, RenameModel
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState

from ..db.tables import has_table
from .autodetector import Key, is_event_model
from .protect import DropHistory
from .protection_state import flatten

_FORWARDS = (
    "The migration {migration} would drop the history of {task}: the table of {events}, which has "
    "events (database {using!r}).\n"
    "- If you renamed the task model: delete this migration and run\n"
    "  manage.py django-simpletask3-rename {task} NewName\n"
    "  to write the correct one.\n"
    "- To drop the history: import DropHistory from django_simpletask3.operations, and put\n"
    '  DropHistory("{name}", reason="why") at the beginning of the operations.'
)
_BACKWARDS = (
    "Reversing {migration} would drop the history of {task}: the table of {events}, which has "
    "events (database {using!r}).\n"
    "- To drop the history: empty the table first. In a development database, "
    "manage.py flush does that."
)


def reject_event_loss(
    using: str, plan: Iterable[tuple[Migration, bool]], apps: Apps, **_: object
) -> None:
    """Raise CommandError if ``plan`` drops events without DropHistory (``pre_migrate``)."""
    for key, migration, backwards in _dropped_models(plan):
        model = _event_model(apps, key)
        if model is None or not _has_rows(model, using):
            continue
        message = _BACKWARDS if backwards else _FORWARDS
        raise CommandError(
            message.format(
                migration=migration,
                task=_task_label(model),
                events=model._meta.label,
                name=key[1],
                using=using,
            )
        )


def _dropped_models(
    plan: Iterable[tuple[Migration, bool]],
) -> Iterator[tuple[Key, Migration, bool]]:
    """Yield the models whose tables ``plan`` drops, by the names that they have before it."""
    origins: dict[Key, Key | None] = {}
    for migration, backwards in plan:
        for key in _models_dropped_by(migration, backwards, origins):
            yield key, migration, backwards


def _models_dropped_by(
    migration: Migration, backwards: bool, origins: dict[Key, Key | None]
) -> Iterator[Key]:
    label = migration.app_label
    allowed: set[Key] = set()
    for operation in _ordered_operations(migration, backwards):
        match operation:
            case DropHistory():
                allowed.add((label, operation.name_lower))
            case RenameModel():
                names = (operation.old_name_lower, operation.new_name_lower)
                old, new = reversed(names) if backwards else names
                origins[label, new] = origins.pop((label, old), (label, old))
            case CreateModel() | DeleteModel():
                key = (label, operation.name_lower)
                if isinstance(operation, CreateModel) is not backwards:
                    origins[key] = None  # created by the plan: it had no events before
                    continue
                origin = origins.pop(key, key)
                if origin is not None and key not in allowed:
                    yield origin


def _ordered_operations(migration: Migration, backwards: bool) -> list[Operation]:
    operations = list(flatten(migration.operations))
    return operations[::-1] if backwards else operations


def _event_model(apps: Apps, key: Key) -> Any:
    """The event model with this key before the plan; None if there is none."""
    try:
        model = apps.get_model(*key)
    except LookupError:
        return None
    return model if is_event_model(ModelState.from_model(model)) else None


def _has_rows(model: type[models.Model], using: str) -> bool:
    if not router.allow_migrate_model(using, model) or not has_table(model, using):
        return False
    return model._base_manager.using(using).exists()


def _task_label(model: type[models.Model]) -> str:
    related: Any = model._meta.get_field("task").related_model
    return str(related._meta.label)

"""The three kinds of columns of a task: projected, operational, and the user's."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from ..exceptions import ProjectedColumn
from .projection import PROJECTED

if TYPE_CHECKING:
    from .task_row import TaskRow

BOOKKEEPING = frozenset(
    {"add_time", "mod_time", "run_after", "priority", "worker", "check_at", "parent"}
)

#: Columns that users do not write: the state, worker and ``check_at``, and the parent.
MANAGED = frozenset({*PROJECTED, "worker", "check_at", "parent"})


def reject_managed(names: Iterable[str]) -> None:
    """Raise ProjectedColumn if one of ``names`` is a column that only the state machine writes."""
    if forbidden := sorted(MANAGED.intersection(names)):
        raise ProjectedColumn(
            f"{', '.join(forbidden)} cannot be written: the state machine does that. "
            "Use reset(), cancel() or note() to move a task."
        )


def auto_now_fields(task: TaskRow) -> set[str]:
    """The time columns that ``update_or_create()`` adds to those it was given."""
    return {
        field.name
        for field in task._meta.local_concrete_fields
        if not field.primary_key and type(field).pre_save is not models.Field.pre_save
    }


def is_saved_unchanged(field: Any) -> bool:
    """Whether ``field`` is saved without ``pre_save()`` changing it."""
    if type(field).pre_save is models.DateTimeField.pre_save:
        return not (field.auto_now or field.auto_now_add)
    return type(field).pre_save is models.Field.pre_save


@lru_cache(maxsize=10_000)
def has_column(model: type[models.Model], name: str) -> bool:
    """Whether the table of ``model`` itself, not that of a parent or child, has the column."""
    try:
        column: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return bool(column.model._meta.concrete_model is model)


def user_fields(task: TaskRow) -> list[models.Field[Any, Any]]:
    """The columns that the subclass declares and that the instance has loaded."""
    loaded = vars(task)
    return [field for field in _user_fields(type(task)) if field.attname in loaded]


@lru_cache(maxsize=1000)
def _user_fields(model: type[TaskRow]) -> tuple[models.Field[Any, Any], ...]:
    return tuple(
        field
        for field in model._meta.concrete_fields
        if field.name not in BOOKKEEPING.union(PROJECTED)
        and not field.primary_key
        and not field.generated
    )

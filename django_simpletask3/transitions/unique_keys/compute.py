"""The key of a task that says which tasks are the same, and the transitions that free it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone

from ...ledger.task_row import TaskRow, has_unique_key, table_model, task_name
from ...states import FINAL, EventKind, kinds_where
from ...unique import Unique

_ENDS = frozenset(kinds_where(lambda spec: spec.changes_state and spec.target in FINAL))
_STARTS_AND_ENDS = _ENDS | {EventKind.START}


#: Of the most frequent columns, the type of the values that the database returns as they are.
_STORED_AS_IT_IS: Mapping[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.SlugField: str,
    models.IntegerField: int,
    models.BigIntegerField: int,
}


def key_of_new(task: TaskRow) -> UUID | None:
    """The key of the new ``task``, by its columns as they are; None if it has none.

    Raises ValueError if one of these is an expression, or names an object that was not saved.
    """
    model = type(task)
    unique = declaration(model)
    if unique is None:
        return None
    fields = _fields_in(table_model(model), unique)
    if any(field.is_relation for field in fields.values()):
        task._prepare_related_fields_for_save(operation_name="save")  # type: ignore[attr-defined]
    values = {}
    for field in fields.values():
        values[field.attname] = value = getattr(task, field.attname)
        if hasattr(value, "resolve_expression"):
            name = f"{field.attname} of {task_name(task)}"
            raise ValueError(f"{name} is an expression: the unique key needs its value.")
    return _key_of(model, unique, fields, values)


def key_of(model: type[TaskRow], values: Mapping[str, Any]) -> UUID | None:
    """The key of a task in the table of ``model`` with these columns; None if it has none."""
    unique = declaration(model)
    if unique is None:
        return None
    return _key_of(model, unique, _fields_in(table_model(model), unique), values)


def _key_of(
    model: type[TaskRow],
    unique: Unique,
    fields: Mapping[str, models.Field[Any, Any]],
    values: Mapping[str, Any],
) -> UUID | None:
    """Part of a SHA-256: the columns may be longer than an index allows.

    And a database compares some texts as equal that are not.
    """
    normal = {name: _normalize(field, values[field.attname]) for name, field in fields.items()}
    text = unique.key_of(normal)
    if text is None:
        return None
    label = table_model(model)._meta.label
    digest = hashlib.sha256(f"{label}:{text}".encode("utf-8", "surrogatepass"))
    return UUID(bytes=digest.digest()[:16], version=5)  # MariaDB refuses what is of no version


def key_columns(model: type[TaskRow]) -> tuple[str, ...]:
    """The columns of the table of ``model`` of which ``key_of`` needs the values."""
    return tuple(field.attname for field in _fields(model).values())


def key_fields(model: type[TaskRow]) -> tuple[str, ...]:
    """``key_columns`` by the names that forms know."""
    return tuple(field.name for field in _fields(model).values())


def frees_key(model: type[TaskRow], kind: EventKind) -> bool:
    """Whether a transition of ``kind`` frees the key of a task of ``model``, if it has one."""
    if not has_unique_key(model):
        return False
    unique = declaration(model)
    if unique is None or unique.until == "started":
        return kind in _STARTS_AND_ENDS
    return unique.until == "finished" and kind in _ENDS


def declaration(model: type[TaskRow]) -> Unique | None:
    """What says which tasks in the table of ``model`` are the same; None: no task has a key."""
    return table_model(model).django_simpletask3_unique if has_unique_key(model) else None


def _fields(model: type[TaskRow]) -> Mapping[str, models.Field[Any, Any]]:
    """The columns in the template of ``model``, by their names there."""
    unique = declaration(model)
    return {} if unique is None else _fields_in(table_model(model), unique)


@lru_cache(maxsize=1000)
def _fields_in(root: Any, unique: Unique) -> dict[str, models.Field[Any, Any]]:
    return {name: root._meta.get_field(name) for name in unique.names}


def _normalize(field: Any, value: Any) -> Any:
    """``value`` as the database returns it: a reset computes the same key."""
    if type(value) is _STORED_AS_IT_IS.get(type(field)):
        return value
    if isinstance(value, Enum):
        value = value.value
    value = field.to_python(value)
    if isinstance(value, Decimal) and isinstance(field, models.DecimalField):
        return value.quantize(Decimal(1).scaleb(-field.decimal_places))
    if isinstance(value, datetime) and timezone.is_aware(value):
        return value.astimezone(UTC)
    return value

"""The key of a task that says which tasks are the same, and the transitions that free it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import models

from ...exceptions import InvalidKey
from ...ledger.task_row import TaskRow, has_unique_key, table_model
from ...logs import printable
from ...states import FINAL, EventKind, kinds_where
from ...unique import Unique
from ..keys import fields_in, key_of_task, key_of_values

_ENDS = frozenset(kinds_where(lambda spec: spec.changes_state and spec.target in FINAL))
_STARTS_AND_ENDS = _ENDS | {EventKind.START}


def key_of_new(task: TaskRow) -> UUID | None:
    """The key of the new ``task``, by its columns as they are; None if it has none.

    Raises InvalidKey if one of these is an expression, or if a format does not fit its value;
    ValueError if one names an object that was not saved.
    """
    model = type(task)
    unique = declaration(model)
    if unique is None:
        return None
    fields = fields_in(table_model(model), unique.columns)
    if any(field.is_relation for field in fields.values()):
        task._prepare_related_fields_for_save(operation_name="save")  # type: ignore[attr-defined]
    return _digest(key_of_task(task, unique.columns, fields))


def key_of(model: type[TaskRow], values: Mapping[str, Any]) -> UUID | None:
    """The key of a task in the table of ``model`` with these columns; None if it has none.

    Raises InvalidKey if a format does not fit its value.
    """
    unique = declaration(model)
    if unique is None:
        return None
    fields = fields_in(table_model(model), unique.columns)
    return _digest(key_of_values(model, unique.columns, fields, values))


def describe_key(task: TaskRow) -> str:
    """The key of ``task`` for people, such as " {customer_id} = 7"; empty if it is not known."""
    unique = declaration(type(task))
    if unique is None:
        return ""
    try:
        fields = fields_in(table_model(type(task)), unique.columns)
        text = key_of_values(type(task), unique.columns, fields, vars(task))
    except (InvalidKey, KeyError):  # a column is not loaded
        text = None
    return f" {unique.template}" if text is None else f" {unique.template} = {printable(text)}"


def _digest(text: str | None) -> UUID | None:
    """Part of a SHA-256: the columns may be longer than an index allows.

    And a database compares some texts as equal that are not.
    """
    if text is None:
        return None
    # Without the name of the model: the constraint is that of one table, which may be renamed.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    return UUID(bytes=digest.digest()[:16], version=5)  # MariaDB refuses what is of no version


def key_columns(model: type[TaskRow]) -> tuple[str, ...]:
    """The columns of the table of ``model`` of which ``key_of`` needs the values."""
    return tuple(field.attname for field in _fields(model).values())


def key_fields(model: type[TaskRow]) -> tuple[str, ...]:
    """``key_columns`` by the names that forms know."""
    return tuple(field.name for field in _fields(model).values())


def frees_key(task: TaskRow, kind: EventKind) -> bool:
    """Whether a transition of ``kind`` frees the key of ``task``, if it has one."""
    model = type(task)
    if not has_unique_key(model):
        return False
    unique = declaration(model)
    until = task._unique_until or (unique.until if unique else "started")
    return kind in (_STARTS_AND_ENDS if until == "started" else _ENDS) and until != "deleted"


def declaration(model: type[TaskRow]) -> Unique | None:
    """What says which tasks in the table of ``model`` are the same; None: no task has a key."""
    return table_model(model).django_simpletask3_unique if has_unique_key(model) else None


def _fields(model: type[TaskRow]) -> Mapping[str, models.Field[Any, Any]]:
    """The columns in the template of ``model``, by their names there."""
    unique = declaration(model)
    return {} if unique is None else fields_in(table_model(model), unique.columns)

"""The tasks that have a unique key."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django.db import connections

from ...batches import batches
from ...db.postgresql.reader import rows_without_outcomes
from ...exceptions import DuplicateTask
from ...ledger.task_row import TaskRow, table_model, task_name
from .compute import declaration, describe_key

_BATCH_SIZE = 500  # keys in one query


def find(
    model: type[TaskRow], using: str, keys: Iterable[UUID], *, is_locking: bool = False
) -> dict[UUID, Any]:
    """The tasks that have ``keys``, by key: instances of ``model`` if they are of it.

    Within a transaction whose reads show what was there when it began, ``is_locking`` also finds
    what was committed since (MariaDB). It waits for transactions that have locked these rows.
    """
    found: dict[UUID, Any] = {}
    for candidates in dict.fromkeys((model, table_model(model))):
        missing = [key for key in keys if key not in found]
        for batch in batches(missing, _BATCH_SIZE):
            found |= _find(candidates, using, batch, is_locking)
    return found


def _find(
    model: type[TaskRow], using: str, keys: Collection[UUID], is_locking: bool
) -> dict[UUID, Any]:
    connection = connections[using]
    rows = rows_without_outcomes(model, using).filter(unique_key__in=keys).order_by("pk")
    if is_locking and connection.in_atomic_block and connection.features.has_select_for_update:
        rows = rows.select_for_update()
    return {row.unique_key: row for row in rows}


def duplicate_of(task: TaskRow | None, new: TaskRow, **details: Any) -> DuplicateTask:
    """The exception that says that ``task``, or one that cannot be seen, has the key of ``new``."""
    name = "Another task" if task is None else task_name(task)
    message = f"{name} has the unique key{describe_key(new)} of this task."
    unique = declaration(type(new))
    if new._state.adding and (new._on_conflict or (unique and unique.on_conflict)) == "refuse":
        message += ' Unique(..., on_conflict="join") lets enqueue() return that task.'
    return DuplicateTask(message, task=task, **details)

"""Insert new tasks unless another task has the key of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import IntegrityError, connections

from ...db.store import KeyTaken
from ...exceptions import DuplicateTask
from ...ledger.task_row import TaskRow
from .compute import describe_key, key_of_new
from .holders import duplicate_of, find

#: How often an insert is tried while others take the key, and free it again.
_ATTEMPTS = 10


def insert_unless_taken(tasks: Sequence[TaskRow], using: str, insert: Callable[[], None]) -> None:
    """Call ``insert``, which inserts the rows of ``tasks``, all of one model.

    Raises DuplicateTask if another task has the key of one of them, and lets other violations of
    constraints pass.
    """
    for _ in range(_ATTEMPTS):
        try:
            insert()
            return
        except (KeyTaken, IntegrityError) as error:
            duplicate = _find_duplicate(tasks, using, error)
        if duplicate is not None:
            raise duplicate
    raise duplicate_of(None, tasks[0])


def reject_repeated(tasks: Sequence[TaskRow]) -> None:
    """Raise DuplicateTask if two of ``tasks``, which have their keys, have the same."""
    seen: dict[UUID, TaskRow] = {}
    for task in tasks:
        key = vars(task)["unique_key"]
        if key is not None and seen.setdefault(key, task) is not task:
            raise DuplicateTask(
                f"Two tasks of this call have the unique key{describe_key(task)}.", task=seen[key]
            )


def _find_duplicate(
    tasks: Sequence[TaskRow], using: str, error: KeyTaken | IntegrityError
) -> DuplicateTask | None:
    """The exception for the task whose key is taken; None if the holder has ended.

    Raises ``error`` if no key is the cause.
    """
    if connections[using].needs_rollback:
        raise error  # another constraint: the insert had no savepoint
    new = {key: task for task in tasks if (key := key_of_new(task)) is not None}
    for is_locking in (False, True):
        for key, holder in find(type(tasks[0]), using, new, is_locking=is_locking).items():
            return duplicate_of(holder, new[key])
    if not isinstance(error, KeyTaken) and "unique_key" not in str(error):
        raise error
    return None

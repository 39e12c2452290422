"""Restore the instances of a transaction that failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..ledger.columns import KNOWN_ATTRIBUTE

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow


def _column_attributes(task: TaskRow) -> set[str]:
    return {KNOWN_ATTRIBUTE, *(field.attname for field in task._meta.concrete_fields)}


@contextmanager
def restore_on_error(tasks: Iterable[TaskRow]) -> Iterator[None]:
    """Restore the attributes of ``tasks`` if the block, and so its transaction, fails."""
    saved = [(task, dict(vars(task)), task._state.adding, task._state.db) for task in tasks]
    try:
        yield
    except BaseException:
        for task, attributes, adding, using in saved:
            for name in _column_attributes(task) - attributes.keys():  # deferred, for example
                vars(task).pop(name, None)
            vars(task).update(attributes)
            task._state.adding, task._state.db = adding, using
        raise

"""What a running body inherits from whoever enqueued its task: who acts, why, and from what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .context import NOBODY, TaskContext, recalled
from .events import events_of
from .models import SimpleTask
from .neighbors import informed
from .states import EventKind
from .task_row import name_of

_OF_ONE_TASK = frozenset({"parent", "model", "adopted"})


@contextmanager
def inherited(task: SimpleTask) -> Iterator[None]:
    """Within the block, the context of the enqueuing is current, and ``task`` is the parent.

    It is read from the stream when somebody asks for it.
    """
    with recalled(_context_of(task)), informed():
        yield


def _context_of(task: SimpleTask) -> Callable[[], TaskContext]:
    def load() -> TaskContext:
        stream = events_of(type(task), task._state.db)
        birth = stream.filter(task=task.pk, kind=EventKind.ENQUEUE).last()
        told = NOBODY if birth is None else TaskContext(birth.actor, "", _handed_on(birth.data))
        return replace(told, parent=name_of(task))

    return load


def _handed_on(data: Any) -> dict[str, Any]:
    """What the context of the enqueuing said, without what is said of that task alone."""
    said = data if isinstance(data, dict) else {}
    return {key: value for key, value in said.items() if key not in _OF_ONE_TASK}

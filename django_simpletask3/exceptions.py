"""Everything this package raises on purpose.

::

    SimpleTaskError
    ├── TransitionRefused
    │   ├── IllegalTransition     the state machine has no such arrow
    │   ├── StaleTask             somebody moved the task first
    │   └── TaskGone              the row does not exist (any more)
    ├── AppendOnly                an event was to be changed or removed
    ├── TaskHeld                  a task that is on legal hold was to be deleted
    ├── ProjectedColumn           a column of the state machine was to be written by hand
    ├── RowBusy                   somebody's transaction holds the row
    ├── QueueUnavailable          Redis cannot be reached or refuses to work
    ├── ExecutorMissing           a task model has nothing to run
    ├── InvalidSetting            a setting has a value that cannot be used
    ├── TimeLimitExceeded         a body ran longer than its model allows
    └── WaitTimeout               a task did not finish in the time given
"""

from __future__ import annotations

from typing import Any


class SimpleTaskError(Exception):
    """The root of the tree; never raised itself."""


class TransitionRefused(SimpleTaskError):
    """The row was not moved; ``pk`` and ``kind`` say which move of which task was asked for."""

    def __init__(self, message: str, *, pk: Any = None, kind: str = "") -> None:
        super().__init__(message)
        self.pk = pk
        self.kind = kind


class IllegalTransition(TransitionRefused):
    """The state machine has no such arrow from the state the row is in."""


class StaleTask(TransitionRefused):
    """Somebody moved the task first: the attempt that wanted to finish no longer holds it."""


class TaskGone(TransitionRefused):
    """The row was deleted; there is nothing left to move."""


class AppendOnly(SimpleTaskError):
    """The event stream only grows: events are neither changed nor removed."""


class TaskHeld(SimpleTaskError):
    """The task is on legal hold: it is not deleted until somebody lifts the hold."""


class ProjectedColumn(SimpleTaskError):
    """A column that only the state machine may write was named in a write."""


class RowBusy(SimpleTaskError):
    """Somebody's transaction holds the row; a worker, which may not wait for it, tries again."""


class QueueUnavailable(SimpleTaskError):
    """Redis cannot be reached, does not answer in time, or refuses the command."""


class ExecutorMissing(SimpleTaskError):
    """The task model neither overrides ``do_task()`` nor has an executor that can be imported."""


class InvalidSetting(SimpleTaskError):
    """A setting has a value that cannot be used; ``name`` is where the value was found."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(name, value, expected)
        self.name = name
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.name} is {self.value!r}; expected {self.expected}."


class TimeLimitExceeded(SimpleTaskError):
    """The body ran longer than ``django_simpletask3_time_limit`` allows; raised inside the body."""


class WaitTimeout(SimpleTaskError):
    """The task was not finished when the time given to ``wait()`` was over."""

"""The exceptions of this package.

::

    SimpleTaskError
    ├── TransitionRefused
    │   ├── DuplicateTask         another task has the unique key
    │   ├── IllegalTransition     the state machine has no such transition
    │   ├── InvalidKey            the key of a task cannot be made of its columns
    │   ├── LimitReached          the limit of the task has no free place
    │   ├── StaleTask             another transition came first
    │   ├── TaskExpired           the task cannot start any more
    │   └── TaskGone              the row does not exist (any longer)
    ├── AppendOnly                an event cannot be changed or deleted
    ├── TaskHeld                  a task on legal hold cannot be deleted
    ├── ProjectedColumn           a projected column cannot be assigned
    ├── RowBusy                   another transaction holds the row
    ├── QueueUnavailable          Redis cannot be reached, or does not answer in time
    │   └── QueueRefused          Redis answers, but refuses the command
    ├── ExecutorMissing           a task model has no task function
    ├── FunctionMissing           a row names a function that the process does not know
    ├── WorkerLost                the worker of a task was lost
    ├── TaskCanceled              a task was canceled
    ├── InvalidSetting            a setting has an invalid value
    ├── NotInTaskFunction         a method was called that only a task function may call
    ├── CheckpointError           of a step that once() was to run
    │   ├── CheckpointInTransaction  once() was called inside atomic()
    │   ├── CheckpointRepeated    once() was called twice with the same name
    │   ├── CheckpointNotRecorded  a step has run, but could not be recorded
    │   └── CheckpointErased      the value of a checkpoint was erased
    ├── TimeLimitExceeded         a task function exceeded its time limit
    ├── WaitTimeout               a task did not finish within the timeout
    ├── Retry                     raise it in a task function: it is tried again
    ├── Snooze                    raise it in a task function: it is called again later
    └── TaskUnsuccessful          a task that was waited for failed, or was canceled

    BaseException
    ├── Cancel                    raise it in a task function: its task is canceled
    └── TaskStopped               the running task function has to stop

``except Exception`` in a task function does not catch the last two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class _Hidden(str):
    """Stands for a value that may contain a password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "invalid (not shown, it may contain a password)"


#: The value of an InvalidSetting that must not be shown.
HIDDEN = _Hidden("hidden")


class SimpleTaskError(Exception):
    """The base class; never raised itself."""


class TransitionRefused(SimpleTaskError):
    """The row was not changed; ``pk`` and ``kind`` identify the task and the transition."""

    def __init__(self, message: str, *, pk: object = None, kind: str = "") -> None:
        super().__init__(message)
        self.pk = pk
        self.kind = kind


class IllegalTransition(TransitionRefused):
    """The state machine has no such transition from the status of the row."""


class DuplicateTask(TransitionRefused):
    """Another task has the unique key of this one; ``task`` is that other task.

    Raised by enqueue and reset, which have changed nothing; a transaction around them goes on.
    ``task`` is None if the transactions of others hide it.
    """

    def __init__(
        self, message: str, *, pk: object = None, kind: str = "", task: Any = None
    ) -> None:
        super().__init__(message, pk=pk, kind=kind)
        self.task = task


class InvalidKey(TransitionRefused, ValueError):
    """The key of a task, unique or of its limit, cannot be made of its columns.

    A format of the template does not fit a value, or a column is an expression. Nothing was
    written.
    """


class StaleTask(TransitionRefused):
    """Another transition came first: the attempt that wanted to finish no longer holds the task.

    ``current`` has the values of the columns that were not as expected.
    """

    def __init__(
        self, message: str, *, pk: object = None, kind: str = "", current: Mapping[str, Any] = {}
    ) -> None:
        super().__init__(message, pk=pk, kind=kind)
        self.current = dict(current)


class LimitReached(TransitionRefused):
    """The task did not start: its limit has no free place, and the task is BLOCKED until it has."""


class TaskExpired(TransitionRefused):
    """The task cannot start: its ``expires_at`` has passed."""


class TaskGone(TransitionRefused):
    """The row was deleted."""


class AppendOnly(SimpleTaskError):
    """Events are append-only: they can be neither changed nor deleted."""


class TaskHeld(SimpleTaskError):
    """The task is on legal hold: lift the hold before you delete or erase it."""


class ProjectedColumn(SimpleTaskError):
    """A write named a column that only transitions may write."""


class RowBusy(SimpleTaskError):
    """Another transaction holds the row; a worker does not wait for it and tries again."""


class QueueUnavailable(SimpleTaskError):
    """Redis cannot be reached, does not answer in time, or refuses the command."""


class QueueRefused(QueueUnavailable):
    """Redis answers, but refuses the command: for lack of rights, of memory, or as a replica."""


class ExecutorMissing(SimpleTaskError):
    """The task model neither overrides ``do_task()`` nor has an executor that can be imported."""


class FunctionMissing(SimpleTaskError):
    """A function task names a function that no module has decorated with ``@task``."""


class WorkerLost(SimpleTaskError):
    """The worker of a task was lost; never raised, but the type of the error of such a task."""


class TaskCanceled(SimpleTaskError):
    """A task was canceled; never raised, but an error in the result of a function task."""


class InvalidSetting(SimpleTaskError):
    """A setting has an invalid value; ``name`` is the name under which it was found.

    ``value`` is HIDDEN if the value may contain a password.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(name, value, expected)
        self.name = name
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.name} is {self.value!r}; expected {self.expected}."


class NotInTaskFunction(SimpleTaskError):
    """A method was called outside of a task function that only a task function may call."""


class CheckpointError(SimpleTaskError):
    """The base class of the errors of ``once()``; ``name`` is that of the step."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class CheckpointInTransaction(CheckpointError):
    """``once()`` was called inside ``atomic()`` on the database of the task; the step did not run.

    Call it outside, or with ``atomic=True``.
    """


class CheckpointRepeated(CheckpointError):
    """``once()`` was called twice in one attempt with the same name; the step did not run."""


class CheckpointNotRecorded(CheckpointError):
    """The step has run, but could not be recorded: the next attempt runs it again.

    JSON cannot hold its value, the value is too large, or the database failed. With
    ``atomic=True`` the transaction of the step was rolled back.
    """


class CheckpointErased(CheckpointError):
    """The value of a checkpoint was erased; ``reset(restart=True)`` forgets all checkpoints."""


class TimeLimitExceeded(SimpleTaskError):
    """The task function exceeded ``django_simpletask3_time_limit``; raised inside it."""


class WaitTimeout(SimpleTaskError):
    """The task was not final within the timeout of ``wait()``."""


class TaskUnsuccessful(SimpleTaskError):
    """A task whose result was waited for failed or was canceled; ``task`` is that task."""

    def __init__(self, message: str, task: object = None) -> None:
        super().__init__(message)
        self.task = task


class Retry(SimpleTaskError):
    """Raise it in a task function to have it tried again, also after an error of ``no_retry_on``.

    The retry begins ``after`` seconds or a timedelta, or at an aware datetime; by default when the
    backoff says. It counts as a retry: if none is left, the task fails with the error ``from``
    which this one was raised.
    """

    reason: str = ""
    after: float | timedelta | datetime | None = None

    def __init__(
        self, reason: str = "", *, after: float | timedelta | datetime | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Snooze(SimpleTaskError):
    """Raise it in a task function to have it called again ``after`` a while, without using a retry.

    ``after`` is a number of seconds or a timedelta, or an aware datetime; a snooze lasts at least
    one second. After ``django_simpletask3_max_snoozes`` of them the task fails.
    """

    reason: str = ""
    after: float | timedelta | datetime = 1

    def __init__(self, reason: str = "", *, after: float | timedelta | datetime = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Cancel(BaseException):
    """Raise it in a task function to cancel the task: it ends CANCELED, and is not tried again.

    ``except Exception`` does not catch it.
    """

    reason: str = ""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class StopReason(StrEnum):
    """Why the function of a running task has to stop: ``task.stop_reason``."""

    CANCELED = "canceled"  # the task was canceled
    SUPERSEDED = "superseded"  # it was reset, deleted, or recovered because its lease was lost
    TIME_LIMIT = "time_limit"  # django_simpletask3_time_limit is exceeded
    WORKER_STOPPING = "worker_stopping"  # the grace time of the stopping worker is over


_STOP_MESSAGES = {
    StopReason.CANCELED: "The task was canceled.",
    StopReason.SUPERSEDED: "The task was reset, deleted or recovered.",
    StopReason.TIME_LIMIT: "The task function exceeded its time limit.",
    StopReason.WORKER_STOPPING: "The worker is stopping.",
}


class TaskStopped(BaseException):
    """The running task function has to stop, for ``reason``; raised by ``task.check_stop()``.

    Let it pass: the worker records what follows. A task function may raise it itself once
    ``task.is_worker_stopping`` is true; then the task is given back at once.
    """

    def __init__(self, reason: StopReason | None = None) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return _STOP_MESSAGES[self.reason] if self.reason else "The task function was stopped."


def is_stopped(error: BaseException) -> bool:
    """Whether ``error`` is TaskStopped, or a group of nothing else (``asyncio.TaskGroup``)."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(TaskStopped)[1] is None
    return isinstance(error, TaskStopped)

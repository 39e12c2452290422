"""The methods of a task that its own task function calls."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction

from ..exceptions import NotInTaskFunction
from ..ledger.task_row import TaskRow, task_name, write_database
from . import progress, recorded_checkpoints
from .attempt import Attempt
from .checkpoints import Checkpoints

T = TypeVar("T")


class RunningMethods(TaskRow):
    """The part of SimpleTask that a task function uses while it runs."""

    class Meta:
        abstract = True

    def once(
        self, name: str, fn: Callable[..., T], /, *args: Any, atomic: bool = False, **kwargs: Any
    ) -> T:
        """Call ``fn`` with the further arguments, and record what it returns as a checkpoint.

        If an earlier attempt has recorded the checkpoint ``name``, its value is returned and ``fn``
        is not called. Call it in a task function. The value is returned as JSON holds it, the first
        time, too: a tuple is a list. If the process is killed between the end of ``fn`` and the
        record, the next attempt calls ``fn`` again. With ``atomic`` both are one transaction of the
        task's database: what ``fn`` writes there is written exactly once.

        Raises NotInTaskFunction outside of a task function; CheckpointInTransaction inside
        ``atomic()``, unless ``atomic`` is true; CheckpointRepeated if ``name`` was used before in
        this attempt; CheckpointNotRecorded if ``fn`` has run and its value cannot be recorded,
        since JSON cannot hold it, it has more than 64 kB, or the database failed for a minute;
        CheckpointErased if the value was erased; TaskStopped as ``check_stop()``, and if the
        attempt has lost the task meanwhile.
        """
        if iscoroutinefunction(fn):
            raise TypeError(f"once() cannot call the coroutine function {fn!r}: await aonce().")
        step = partial(fn, *args, **kwargs)
        return cast("T", _checkpoints_of(self, "once").once(name, step, is_atomic=atomic))

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report how much is ``done``, of a ``total`` if that is known, and a word about it.

        Call it in a task function, as often as you like: it only keeps the values. They are written
        in the background, at most once a second, later once in a hundredth of the time that the
        function has been reporting; the outcome has the last ones. ``total`` may be an estimate.
        The message is cut to 255 characters. Raises NotInTaskFunction outside of a task function,
        ValueError for what is no number of at least 0.
        """
        attempt = _attempt_of(self, "progress")
        progress.report(attempt, progress.checked(done, total, message))

    def track(
        self, rows: Iterable[T], total: float | None = None, message: str = ""
    ) -> Iterator[T]:
        """Yield ``rows``, and report how many of them are done, as ``progress()``.

        The total is the length of ``rows``, unless it is given. That of a queryset that was not
        read is unknown: it is not counted. Raises TaskStopped, as ``check_stop()``, before the
        next row if the function has to stop.
        """
        return progress.track(*_tracked(self, "track", rows, total, message))

    def atrack(
        self, rows: Iterable[T] | AsyncIterable[T], total: float | None = None, message: str = ""
    ) -> AsyncIterator[T]:
        """As ``track()``, for ``async for``; ``rows`` may be asynchronous, such as a queryset."""
        return progress.atrack(*_tracked(self, "atrack", rows, total, message))

    def idempotency_key(self, name: str) -> str:
        """A key for the step ``name`` of this task: a UUID, as text.

        It is the same in every attempt, also after ``reset()``, unless with ``restart=True``: give
        it to a service that does the same request once. One query, in a first attempt none.
        """
        if self._running_attempt is None:
            recorded = recorded_checkpoints.read_checkpoints(self, write_database(self))
        else:
            recorded = _checkpoints_of(self, "idempotency_key").read()
        return recorded_checkpoints.idempotency_key(self, name, recorded.beginning)


def _checkpoints_of(task: TaskRow, method: str) -> Checkpoints:
    attempt = _attempt_of(task, method)
    if attempt.checkpoints is None:
        attempt.checkpoints = Checkpoints(attempt)
    return cast("Checkpoints", attempt.checkpoints)


def _tracked(
    task: TaskRow, method: str, rows: Any, total: float | None, message: str
) -> tuple[Attempt, Any, float | None, str]:
    """The arguments of ``progress.track``, which begins when the first row is asked for."""
    attempt = _attempt_of(task, method)
    if total is None:
        total = progress.known_length(rows)
    begin = progress.checked(0, total, message)
    return attempt, rows, begin.total, begin.message


def _attempt_of(task: TaskRow, method: str) -> Attempt:
    attempt: Attempt | None = task._running_attempt
    if attempt is None or attempt.pk != task.pk:
        raise NotInTaskFunction(
            f"{method}() of {task_name(task)} was called outside of its task function: call it "
            "there, of the instance that the task function was called with."
        )
    return attempt

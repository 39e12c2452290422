"""Let the worker process of ``run_tasks()`` end at an event, as SIGKILL would end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connections, transaction

from ...execution.simulated_crash import SimulatedCrash
from ...ledger.task_row import write_database
from ...signals import event_recorded
from ...states import EventKind, Holder, kinds_where

#: The kinds of events that a worker records.
_KINDS = (EventKind.START, *kinds_where(lambda spec: spec.holder is not Holder.NEVER))
#: The statements with which Django rolls back to a savepoint.
_ROLLBACK = ("ROLLBACK", "RELEASE")


class NoSuchEvent(AssertionError):
    """The block of a crash has ended, and no worker has recorded its event."""


@contextmanager
def crash_after(kind: str, *, step: str | None = None) -> Iterator[None]:
    """Within the block, the worker dies as soon as an event of this kind is committed.

    Its signals and ``on_commit()`` hooks do not follow. ``kind`` is one that a worker records, such
    as "start" or "ack"; ``step`` is that of a "checkpoint". It dies once: ``run_tasks()`` returns
    at once, and its next call is another worker. In Python this is an exception in the task
    function that ``except Exception`` does not catch: ``finally`` runs, but no statement reaches
    the database any more. Raises AssertionError if no such event was recorded within the block.
    """
    with _planned(_Crash(_checked(kind, step), step, is_after=True)):
        yield


@contextmanager
def crash_before(kind: str, *, step: str | None = None) -> Iterator[None]:
    """As ``crash_after()``, but the worker dies when it is about to record the event."""
    with _planned(_Crash(_checked(kind, step), step, is_after=False)):
        yield


@dataclass(eq=False, slots=True)
class _Crash:
    """The end of a worker process, at one event."""

    kind: EventKind
    step: str | None
    is_after: bool
    has_happened: bool = False
    #: The other events that workers have recorded: their kinds, and the steps of checkpoints.
    seen: list[str] = field(default_factory=list)

    def is_at(self, event: Any) -> bool:
        if event.kind != self.kind:
            return False
        return self.step is None or (event.data or {}).get("name") == self.step

    def __str__(self) -> str:
        step = "" if self.step is None else f", step={self.step!r}"
        return f"crash_{'after' if self.is_after else 'before'}({self.kind.value!r}{step})"


#: Those of the blocks that were entered, in any thread.
_crashes: list[_Crash] = []


@contextmanager
def _planned(crash: _Crash) -> Iterator[None]:
    _crashes.append(crash)
    try:
        yield
    finally:
        _crashes.remove(crash)
    if not crash.has_happened:
        seen = f"only: {', '.join(crash.seen)}" if crash.seen else "and no other"
        raise NoSuchEvent(f"{crash}: no worker has recorded such an event, {seen}.")


def _named(event: Any) -> str:
    """The kind of ``event``, with the step of a checkpoint."""
    step = (event.data or {}).get("name")
    is_checkpoint = event.kind == EventKind.CHECKPOINT
    return f"{event.kind} (step={step!r})" if is_checkpoint else str(event.kind)


def _checked(kind: str, step: str | None) -> EventKind:
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(_KINDS)}, which a worker records.")
    if step is not None and kind != EventKind.CHECKPOINT:
        raise ValueError(f"step is for the kind 'checkpoint', and not for {str(kind)!r}.")
    return EventKind(kind)


class WorkerProcess:
    """The process that one ``run_tasks()`` stands for, which may crash."""

    def __init__(self, worker: str, follow: Callable[[Any, Any], None]) -> None:
        """``follow`` is called with what was committed last, and not signaled."""
        self._worker, self._follow = worker, follow

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Within the block, the process crashes where tests want it to."""
        if not _crashes:
            yield
            return
        event_recorded.connect(self._receive, weak=False)
        try:
            yield
        finally:
            event_recorded.disconnect(self._receive)
            for connection in connections.all():
                if self._refuse in connection.execute_wrappers:
                    connection.execute_wrappers.remove(self._refuse)

    def _receive(self, task: Any, event: Any, **_: Any) -> None:
        """A receiver that is called in the transaction of each event."""
        if event.worker != self._worker:
            return
        waiting = [crash for crash in _crashes if not crash.has_happened]
        crash = next((crash for crash in waiting if crash.is_at(event)), None)
        for other in waiting:
            other.seen += [] if other is crash else [_named(event)]
        if crash is None:
            return
        if not crash.is_after:
            self._crash(crash)
        using = write_database(task)
        transaction.on_commit(partial(self._crash_after, crash, task, event), using=using)
        hooks = connections[using].run_on_commit
        hooks.insert(0, hooks.pop())  # before what is to follow the commit

    def _crash_after(self, crash: _Crash, task: Any, event: Any) -> None:
        self._follow(task, event)
        self._crash(crash)

    def _crash(self, crash: _Crash) -> None:
        crash.has_happened = True
        for connection in connections.all():
            # The first one: the ends of blocks of other wrappers remove the last one.
            connection.execute_wrappers.insert(0, self._refuse)
            if connection.in_atomic_block:
                connection.needs_rollback = True
        raise SimulatedCrash(f"{crash}: the worker process ends here.")

    def _refuse(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Let no statement reach the database after the crash, as from ``finally``."""
        if not str(sql).startswith(_ROLLBACK):
            raise SimulatedCrash("The worker process has crashed: it cannot use the database.")
        result = execute(sql, params, many, context)
        # Also the transaction around a savepoint, if the function has caught the exception in it.
        context["connection"].needs_rollback |= str(sql).startswith("RELEASE")
        return result

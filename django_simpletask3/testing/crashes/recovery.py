"""Lose the workers and messages of tasks, recover these, and let a worker come back too late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ...context import EMPTY_CONTEXT, running_task
from ...db import clock
from ...execution.finish import finish
from ...execution.outcomes.log import log_outcome
from ...execution.run import Run, outcome_of
from ...ledger.event import events_of
from ...ledger.projection import fold
from ...ledger.task_row import task_name
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...recovery.lost_messages import record_lost_messages
from ...recovery.lost_workers import recover_or_drop
from ...recovery.service import LEASE_EXPIRED
from ...states import AUDIT_ONLY, EventKind, Status, status_name
from ..autocommit import outside_of_transaction
from ..run import run_tasks
from ..selection import Key, Selection, checked_task, load_all, without_message
from .crash_points import NoSuchEvent, crash_after


def lose_worker(task: SimpleTask) -> None:
    """Leave ``task`` RUNNING, with a worker that is gone, as one that is killed in the function.

    A PENDING task is started, as by ``run_tasks()``; its function is not called. ``task`` is
    refreshed. Raises ValueError if it is neither PENDING nor RUNNING, and AssertionError if it does
    not start.
    """
    selection = Selection([checked_task(task)])
    selection.refresh()
    if task.status not in (Status.PENDING, Status.RUNNING):
        raise ValueError(f"{task_name(task)} is {status_name(task.status)}: no worker has it.")
    if task.status == Status.PENDING:
        try:
            with crash_after(EventKind.START):
                run_tasks(task)
        except NoSuchEvent:
            raise AssertionError(f"{task_name(task)} has not started. {task.explain()}") from None


def lose_message(task: SimpleTask) -> None:
    """Let the queue lose the message of ``task``, which is PENDING and due; else ValueError.

    Status and events stay as they are, and ``run_tasks()`` leaves the task alone, as no worker
    knows of it: until ``recover()`` or ``reset()`` pushes another message.
    """
    key = Key.of(checked_task(task))
    rows = rows_of(*key.table).filter(pk=key.pk).due()
    if not rows.update_managed(check_at=without_message()):
        raise ValueError(f"{task_name(task)} has no message: it is not PENDING, or not due.")


def recover(*models_or_tasks: type[SimpleTask] | SimpleTask | Any) -> int:
    """Recover the RUNNING tasks, as nodes do when the leases have ended; how many.

    All tasks, or those of some models and their subclasses, or some tasks, which are refreshed. No
    worker of a test holds a task between two calls of ``run_tasks()``, so none of them waits for
    its lease here. By the code that a node uses: a task goes back to the queue (``recover``), or
    fails (``drop``) if its worker was lost too often. Tasks whose message ``lose_message()`` has
    lost get another one, and a ``recover``, too.
    """
    selection, count = Selection.of(models_or_tasks), 0
    with _outside_of_test():
        for table in selection.tables():
            clock.refresh(table[1])
            running = selection.load(table, status=Status.RUNNING)
            count += recover_or_drop(running, LEASE_EXPIRED)
            waiting = selection.load(table, status=Status.PENDING, check_at=without_message())
            count += record_lost_messages(waiting)
    selection.refresh()
    return count


def late_result(task: SimpleTask, result: object = None) -> None:
    """Let the worker that has lost ``task`` come back with ``result``, which is refused.

    A ``reject`` event says so, and the row stays as it is. ``task`` is refreshed. Raises ValueError
    if no attempt of it was lost: call ``recover()``, ``cancel()`` or ``reset()`` before.
    """
    key = Key.of(checked_task(task))
    events = list(events_of(*key.table).filter(task=key.pk))
    lost = _start_of_lost_attempt(events)
    if lost is None:
        raise ValueError(f"No attempt of {task_name(task)} was lost: a result would be accepted.")
    row = load_all([key]).get(key)
    if row is None:
        raise ValueError(f"{task_name(task)} was deleted: no result can come.")
    run = Run(_as_claimed(row, events, lost), lost.worker)
    run.transition = outcome_of(run, EventKind.ACK, result=result)
    with _outside_of_test():
        if finish([run]) and run.transition.error is not None:
            raise run.transition.error
        log_outcome(run)
    Selection([task]).refresh()


@contextmanager
def _outside_of_test() -> Iterator[None]:
    """Within the block, transactions seem to commit, and the context is that of a node."""
    with outside_of_transaction(), running_task(None, lambda: EMPTY_CONTEXT):
        yield


def _as_claimed(task: SimpleTask, events: Iterable[Any], start: Any) -> SimpleTask:
    """``task`` as the worker that recorded ``start`` knows it."""
    projection = fold(event for event in events if event.sequence <= start.sequence)
    vars(task).update(projection._asdict())
    return task


def _start_of_lost_attempt(events: Iterable[Any]) -> Any:
    """The ``start`` of the last attempt that its worker has not ended; None if there is none."""
    start = lost = None
    for event in events:
        if event.kind == EventKind.START:
            start = event
        elif event.from_status == Status.RUNNING and event.kind not in AUDIT_ONLY:
            # Only what the worker itself records has its name.
            lost = lost if event.worker else start
    return lost

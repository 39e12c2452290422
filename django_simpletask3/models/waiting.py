"""Waiting for a task to become final."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.db.transaction import TransactionManagementError

from ..exceptions import QueueUnavailable, WaitTimeout
from ..ledger.task_row import task_name, write_database
from ..queue import get_queue
from ..states import FINAL

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_RECHECK_SECONDS = 1.0
_MIN_PAUSE = 0.02


def wait_until_final(task: TaskRow, timeout: float | timedelta | None) -> None:
    """Refresh ``task`` until it is final. SimQ's event makes that prompt, the row makes it true.

    Raises WaitTimeout after ``timeout`` seconds, and TransactionManagementError at once in a
    transaction, unless the task is final already, and
    SynchronousOnlyOperation in the thread of a running event loop.
    """
    _reject_event_loop()
    timeout = as_seconds(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _MIN_PAUSE
    refresh_before_waiting(task)
    while task.status not in FINAL:
        remaining = _RECHECK_SECONDS if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            raise WaitTimeout(f"{task_name(task)} was not final within {timeout} s.")
        _await_done(task, min(remaining, _RECHECK_SECONDS), pause)
        pause = min(pause * 2, _RECHECK_SECONDS)
        task.refresh_from_db()


def refresh_before_waiting(task: TaskRow) -> None:
    """Refresh ``task``; raises as ``wait_until_final`` if it cannot be waited for."""
    if task.pk is None:
        raise ValueError(f"{task_name(task)} cannot be waited for: save it first.")
    task.refresh_from_db()
    if task.status not in FINAL:
        _reject_transaction(task)


def _reject_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation(
        "wait() would block the event loop of this thread. Use: await task.await_result()"
    )


def as_seconds(timeout: float | timedelta | None) -> float | None:
    """``timeout`` in seconds; None is no limit. Raises ValueError if it is no duration."""
    if timeout is None:
        return None
    try:
        seconds = float(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if math.isnan(seconds):  # no time is ever later
        raise ValueError(f"timeout is {timeout!r}; expected seconds, a timedelta or None.")
    return seconds


def _reject_transaction(task: TaskRow) -> None:
    if transaction.get_connection(write_database(task)).in_atomic_block:
        # Its message is pushed after the commit, and the transaction may hide the worker's.
        raise TransactionManagementError(
            f"{task_name(task)} cannot be waited for inside atomic(): workers see it after the "
            "commit. Call wait() after the block, or from transaction.on_commit()."
        )


def _await_done(task: TaskRow, timeout: float, pause: float) -> None:
    started = time.monotonic()
    with suppress(QueueUnavailable):
        get_queue().query(task.get_task_id(), timeout=timeout)
    # A done event of an earlier run answers at once: never ask faster than ``pause``.
    time.sleep(max(0.0, min(timeout, pause) - (time.monotonic() - started)))

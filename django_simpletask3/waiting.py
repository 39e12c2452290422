"""Waiting for a task to become final."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .exceptions import QueueUnavailable, WaitTimeout
from .queue import get_queue

if TYPE_CHECKING:
    from .models import SimpleTask

_LOOK_AGAIN = 1.0
_SHORTEST_PAUSE = 0.02


def until_final(task: SimpleTask, timeout: float | None) -> None:
    """Refresh ``task`` until it is final; SimQ's done event makes that prompt, the row makes it true.

    Raises WaitTimeout after ``timeout`` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _SHORTEST_PAUSE
    task.refresh_from_db()
    while not task.status.is_final:
        left = _LOOK_AGAIN if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeout(f"{task._meta.label} {task.pk} was not final within {timeout} s.")
        _await_done(task, min(left, _LOOK_AGAIN), pause)
        pause = min(pause * 2, _LOOK_AGAIN)
        task.refresh_from_db()


def _await_done(task: SimpleTask, timeout: float, pause: float) -> None:
    began = time.monotonic()
    try:
        get_queue().query(task.get_task_id(), timeout=timeout)
    except QueueUnavailable:
        pass
    # A done event of an earlier run answers at once: never ask faster than ``pause``.
    time.sleep(max(0.0, min(timeout, pause) - (time.monotonic() - began)))

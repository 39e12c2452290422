"""The methods of a task for coroutines, as Django names its own: with an ``a`` in front.

Functions, and not a mixin: Django writes mixins into the migrations of the user's models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

from ..exceptions import TaskUnsuccessful, WaitTimeout
from ..ledger.task_row import task_name
from ..states import FINAL, Status, status_name
from . import waiting

if TYPE_CHECKING:
    from ..ledger.event import TaskEvent
    from ..ledger.task_row import TaskRow

_MIN_PAUSE, _MAX_PAUSE = 0.02, 0.5


def _method(task: Any, name: str) -> Callable[..., Any]:
    """The method that the class of ``task`` has or inherits, also where a column hides it."""
    methods = (vars(owner).get(name) for owner in type(task).__mro__)
    return partial(next(filter(callable, methods)), task)


async def areset(self: Any, *args: Any, **kwargs: Any) -> None:
    """As ``reset()``."""
    await sync_to_async(_method(self, "reset"))(*args, **kwargs)


async def acancel(self: Any, *args: Any, **kwargs: Any) -> None:
    """As ``cancel()``."""
    await sync_to_async(_method(self, "cancel"))(*args, **kwargs)


async def aunblock(self: Any, reason: str = "") -> TaskEvent:
    """As ``unblock()``."""
    event: TaskEvent = await sync_to_async(_method(self, "unblock"))(reason)
    return event


async def anote(self: Any, reason: str = "", **data: Any) -> TaskEvent:
    """As ``note()``."""
    event: TaskEvent = await sync_to_async(_method(self, "note"))(reason, **data)
    return event


async def aonce(
    self: Any, name: str, fn: Any, /, *args: Any, atomic: bool = False, **kwargs: Any
) -> Any:
    """As ``once()``; ``fn`` may be a coroutine function, too."""
    step = async_to_sync(fn) if iscoroutinefunction(fn) else fn
    return await sync_to_async(_method(self, "once"))(name, step, *args, atomic=atomic, **kwargs)


async def aprogress(self: Any, *args: Any, **kwargs: Any) -> None:
    """As ``progress()``, which does not wait either."""
    _method(self, "progress")(*args, **kwargs)


async def await_result(
    self: Any,
    timeout: float | timedelta | None = None,  # noqa: ASYNC109 - as that of wait()
) -> Any:
    """Wait until the task is final, and return what its task function returned.

    The event loop goes on meanwhile. The row is read again and again, at most twice a second once
    the wait is longer than a second. Raises WaitTimeout after ``timeout``, seconds or a timedelta
    (None waits forever), TaskUnsuccessful if the task failed or was canceled, and
    TransactionManagementError in a transaction, unless the task is final already.
    """
    seconds = waiting.as_seconds(timeout)
    deadline = None if seconds is None else time.monotonic() + seconds
    pause = _MIN_PAUSE
    await sync_to_async(waiting.refresh_before_waiting)(self)
    while self.status not in FINAL:
        remaining = pause if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            raise WaitTimeout(f"{task_name(self)} was not final within {timeout} s.")
        await asyncio.sleep(min(pause, remaining))
        pause = min(pause * 2, _MAX_PAUSE)
        await self.arefresh_from_db()
    return _result_of(self)


def _result_of(task: TaskRow) -> Any:
    if task.status == Status.SUCCESS:
        return task.result_data
    error = task.error_data if isinstance(task.error_data, dict) else {}
    described = ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
    outcome = f"{task_name(task)} is {status_name(task.status)}"
    raise TaskUnsuccessful(f"{outcome} ({described})." if described else f"{outcome}.", task)

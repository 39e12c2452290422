"""A stretch of code into which another thread can raise an exception."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from asgiref.sync import async_to_sync


class Interruptible:
    """A context: while a thread is inside, ``interrupt`` raises there; outside, nothing happens.

    Python delivers the exception between two of its own instructions, so a thread inside a long
    call into C, or a lock, notices it afterwards only. A coroutine is cancelled first; the second
    call of ``interrupt`` raises in the threads of it and of its synchronous parts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._is_pending = False
        self._coroutine: tuple[int, asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._error: type[BaseException] | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether a coroutine was cancelled, and no thread interrupted yet.

        The coroutine may have ended: its synchronous parts go on.
        """
        return self._thread is not None and self._error is not None and not self._is_pending

    @property
    def is_interrupted(self) -> bool:
        """Whether ``interrupt`` was called while a thread was inside."""
        return self._error is not None

    @property
    def is_entered(self) -> bool:
        """Whether a thread is inside."""
        return self._thread is not None

    def __enter__(self) -> Self:
        with self._lock:
            self._thread = threading.get_ident()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._thread is not None and self._is_pending:
                _raise_in(self._thread, None)  # it would strike outside
            self._thread, self._is_pending = None, False

    def interrupt(self, error: type[BaseException]) -> bool:
        """Raise ``error`` in the thread that is inside; whether there is one."""
        with self._lock:
            if self._thread is None:
                return False
            # First: a middleware that sees the cancellation asks at once whether it is ours.
            is_repeated, self._error = self._error is not None, error
            if self._coroutine is not None:
                _, loop, task = self._coroutine
                with suppress(RuntimeError):  # the loop has just been closed
                    loop.call_soon_threadsafe(task.cancel)
            if self._coroutine is None or is_repeated:
                self._raise_in_threads(self._thread, error)
            return True

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """The result of ``awaitable``; ``interrupt`` cancels it, and its error is raised."""
        try:
            return async_to_sync(self._wait_for)(awaitable)
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as cancelled:
            if self._error is None:
                raise
            raise self._error from cancelled

    @contextmanager
    def outside_of_coroutine(self) -> Iterator[None]:
        """While a coroutine has the thread that is inside run this block: ``interrupt`` raises."""
        with self._lock:
            coroutine, self._coroutine = self._coroutine, None
        try:
            yield
        finally:
            with self._lock:
                if self._thread is not None and self._is_pending:
                    _raise_in(self._thread, None)
                    self._is_pending = False
                self._coroutine = coroutine

    async def _wait_for(self, awaitable: Awaitable[Any]) -> Any:
        task: Any = asyncio.current_task()
        with self._lock:
            self._coroutine = (threading.get_ident(), asyncio.get_running_loop(), task)
        try:
            return await awaitable
        finally:
            with self._lock:
                if self._is_pending:
                    _raise_in(threading.get_ident(), None)
                self._coroutine = None

    def _raise_in_threads(self, thread: int, error: type[BaseException]) -> None:
        self._is_pending = True
        _raise_in(thread, error)
        if self._coroutine is not None:
            _raise_in(self._coroutine[0], error)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    target = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)

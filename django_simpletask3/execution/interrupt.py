"""A stretch of code into which another thread can raise an exception."""

from __future__ import annotations

import ctypes
import threading
from types import TracebackType


class Interruptible:
    """A context: while a thread is inside, ``interrupt`` raises there; outside, nothing happens.

    Python delivers the exception between two of its own instructions, so a thread inside a long
    call into C, or a lock, notices it afterwards only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._is_pending = False

    @property
    def is_entered(self) -> bool:
        """Whether a thread is inside."""
        return self._thread is not None

    def __enter__(self) -> None:
        with self._lock:
            self._thread = threading.get_ident()

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
            self._is_pending = True
            _raise_in(self._thread, error)
            return True


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    target = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)

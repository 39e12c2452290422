"""When tasks become due, as far as a process knows: then the tables are looked at."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from weakref import WeakMethod

#: Hints are rounded up to a multiple: checks for tasks that are due one after the other.
_STEP_SECONDS = 0.25
#: The same for the next start that a rate allows: a node that is late starts fewer.
_EXACT_STEP_SECONDS = 0.025
#: A hint further away is ignored: the regular checks find these tasks in time.
_MAX_SECONDS = 15.0


class DueHints:
    """The times of the next due checks of this process, beside the regular ones; thread-safe.

    The method ``on_earlier`` is called when the next one is earlier than it was, as long as its
    object exists.
    """

    def __init__(self, on_earlier: Callable[[], object] | None = None) -> None:
        self._on_earlier = WeakMethod(on_earlier) if on_earlier else None
        self._lock = threading.Lock()
        #: By ``time.monotonic()``.
        self._times: frozenset[float] = frozenset()

    def add(self, seconds: Iterable[float]) -> None:
        """Have the tables checked when these numbers of seconds have passed."""
        self._add(seconds, _STEP_SECONDS)

    def add_exact(self, seconds: float) -> None:
        """Have the tables checked within a few milliseconds after ``seconds`` have passed."""
        self._add([seconds], _EXACT_STEP_SECONDS)

    def _add(self, seconds: Iterable[float], step: float) -> None:
        now = time.monotonic()
        near = [later for later in seconds if 0 <= later <= _MAX_SECONDS]
        with self._lock:
            before = min(self._times, default=math.inf)
            self._times |= {math.ceil((now + later) / step) * step for later in near}
            is_earlier = min(self._times, default=math.inf) < before
        if is_earlier and self._on_earlier and (method := self._on_earlier()):
            method()

    def seconds_until_next(self) -> float:
        """Seconds until the next check; infinity if there is no hint."""
        return min(self._times, default=math.inf) - time.monotonic()

    def forget_past(self) -> None:
        """Forget the hints whose time has come: the check that begins sees these tasks."""
        now = time.monotonic()
        with self._lock:
            self._times = frozenset(moment for moment in self._times if moment > now)

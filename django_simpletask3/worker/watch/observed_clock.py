"""A clock that stands still while the machine, or this process, is stopped."""

from __future__ import annotations

import time
from collections import deque

_MAX_STEP = 1.0  # seconds between two ticks that count, whatever happened in between


class ObservedClock:
    """Measures durations without the time in which this process could not run.

    Call ``tick`` at least once a second. After SIGSTOP, or on a machine without a free processor,
    it comes late: what is beyond a second counts only as far as this process used a processor.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._used = time.process_time()
        self._gaps: deque[tuple[float, float]] = deque(maxlen=1000)  # their ends and lengths

    def tick(self) -> float:
        """The seconds since the last tick that count."""
        now, used = time.monotonic(), time.process_time()
        passed = now - self._last
        counted = min(passed, max(_MAX_STEP, used - self._used))
        self._last, self._used = now, used
        if counted < passed:
            self._gaps.append((now, passed - counted))
        return counted

    def seconds_since(self, moment: float) -> float:
        """The seconds that count since ``moment``, which is a ``time.monotonic()``."""
        lost = sum(length for end, length in self._gaps if end > moment)
        return max(0.0, time.monotonic() - moment - lost)

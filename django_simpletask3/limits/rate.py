"""A rate: how many tasks start in any period."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])")

#: Seconds between two looks whether a task may start, of tasks that wait: so many starts may be
#: made up for.
_LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` starts in any period of ``seconds``.

    The generic cell rate algorithm (GCRA, ITU-T I.371): after ``burst`` starts at once, one each
    ``step``. Its state is one time, at which the starts so far would have been due one by one.
    """

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """The rate ``text``, such as "100/m". Raises ValueError for anything else."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no rate.")
        return cls(int(match[1]), _UNITS[match[2]])

    @property
    def burst(self) -> int:
        """How many may start at once, after a pause."""
        missed = -int(-_LOOK_SECONDS * self.count // self.seconds)
        return max(1, self.count // 10, min(missed, self.count))

    @property
    def step(self) -> timedelta:
        """The time from one start to the next, rounded up."""
        microseconds = self.seconds * 1_000_000
        return timedelta(microseconds=-(-microseconds // (self.count - self.burst + 1)))

    def allowed(self, arrival_time: datetime | None, now: datetime) -> int:
        """How many may start ``now``, after starts that have led to ``arrival_time``."""
        if arrival_time is None or arrival_time <= now:
            return self.burst
        return max(0, self.burst + (now - arrival_time) // self.step)

    def after_start(self, arrival_time: datetime | None, now: datetime) -> datetime:
        """The arrival time after one more start."""
        return (now if arrival_time is None else max(arrival_time, now)) + self.step

    def time_of(self, arrival_time: datetime | None, count: int) -> datetime | None:
        """When ``count`` may start at once; None if that is never, or was always so."""
        if arrival_time is None or count > self.burst:
            return None
        return arrival_time - (self.burst - count) * self.step

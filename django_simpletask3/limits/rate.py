"""A rate: how many tasks start in any period."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])")

#: What part of a period a start may be late without slowing down those after it.
_TOLERANCE = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` starts in any period of ``seconds``.

    The generic cell rate algorithm (GCRA, ITU-T I.371): one start each ``step``, or up to
    ``tolerance`` earlier. Its state is one time, at which the starts so far would have been due one
    by one. A step is so long that a period and the tolerance have ``count`` of them: so starts that
    are late by less than the tolerance make up for it, and no period has more than ``count``.
    """

    count: int
    seconds: int

    @classmethod
    @lru_cache(maxsize=1000)
    def parse(cls, text: str) -> Rate:
        """The rate ``text``, such as "100/m". Raises ValueError for anything else."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no rate.")
        return cls(int(match[1]), _UNITS[match[2]])

    @property
    def tolerance(self) -> timedelta:
        """How much earlier than one by one tasks may start."""
        return timedelta(seconds=self.seconds) / _TOLERANCE

    @property
    def step(self) -> timedelta:
        """The time from one start to the next, rounded up."""
        microseconds = (timedelta(seconds=self.seconds) + self.tolerance) // timedelta.resolution
        return timedelta(microseconds=-(-microseconds // self.count))

    @property
    def burst(self) -> int:
        """How many may start at once, after a pause."""
        return self.tolerance // self.step + 1

    def allowed(self, arrival_time: datetime | None, now: datetime) -> int:
        """How many may start ``now``, after starts that have led to ``arrival_time``."""
        arrival_time = now if arrival_time is None else max(arrival_time, now)
        return max(0, (now + self.tolerance - arrival_time) // self.step + 1)

    def after_start(self, arrival_time: datetime | None, now: datetime) -> datetime:
        """The arrival time after one more start."""
        return (now if arrival_time is None else max(arrival_time, now)) + self.step

    def time_of(self, arrival_time: datetime | None, count: int) -> datetime | None:
        """When ``count`` may start at once; None if that is never, or was always so."""
        if arrival_time is None or count > self.burst:
            return None
        return arrival_time - self.tolerance + (count - 1) * self.step

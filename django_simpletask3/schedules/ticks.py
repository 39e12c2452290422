"""When a schedule is due: its ticks, calculated from a cron expression or an interval."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import takewhile
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The shortest interval.
SHORTEST = timedelta(seconds=1)
#: The longest interval: its ticks are in the calendar.
LONGEST = timedelta(days=36_525)
#: A clock is not changed by more, and not twice within that time.
_MAX_SHIFT = timedelta(hours=3)
_MINUTE = timedelta(minutes=1)
#: The first period in which the last ticks are looked for; the next ones are longer.
_FIRST_PERIOD = timedelta(hours=1)
_GROWTH = 8


class Ticks(Protocol):
    """The ticks of a schedule: a set of instants, all in UTC."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick after ``moment``; None if there is none in the next 50 years."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every ``length``, counted from 1970-01-01 00:00 UTC, whatever the nodes do meanwhile."""

    length: timedelta

    def next_after(self, moment: datetime) -> datetime | None:
        return EPOCH + ((moment - EPOCH) // self.length + 1) * self.length


class Cron:
    """A cron expression of five fields in a time zone.

    If the clock is put forward, a time of day that it skips is due when it goes on. If the clock is
    put back, a time of day is due once, at its first time, but an expression whose minute or hour
    begins with ``*`` goes on evenly: that is what cron of Debian does. Raises ValueError for what
    is no expression.
    """

    __slots__ = ("_is_even", "_simulator", "_zone")

    def __init__(self, expression: str, zone: tzinfo) -> None:
        parts = expression.split()
        if len(parts) != 5:
            raise ValueError(
                f"{expression!r} has {len(parts)} fields; expected five: minute, hour, day of the "
                "month, month, day of the week"
            )
        try:
            # Without a zone: what the clock skips or repeats is decided here, for all zones alike.
            self._simulator = CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001
        except CronSimError as error:
            raise ValueError(f"{expression!r} is no cron expression: {error}") from None
        self._is_even = parts[0].startswith("*") or parts[1].startswith("*")
        self._zone = zone

    def next_after(self, moment: datetime) -> datetime | None:
        local = _clock_time(moment, self._zone)
        found = next(self._clock_times(local), None)
        if found is None:
            return None
        if self._is_regular(local) and self._is_regular(found):
            return found.replace(tzinfo=self._zone).astimezone(UTC)
        return self._next_near_change(moment, local, found)

    def _next_near_change(
        self, moment: datetime, local: datetime, found: datetime
    ) -> datetime | None:
        """The first tick after ``moment``, if the clock is changed near it, or near ``found``."""
        last = max(local, found) + 2 * _MAX_SHIFT
        times = takewhile(lambda time: time <= last, self._clock_times(local - _MAX_SHIFT))
        instants = {instant for time in times for instant in self._instants(time)}
        later = [instant for instant in instants if instant > moment]
        if later:
            return min(later)
        # All of them were skipped or are over, such as those of the only night of a year.
        further = next(self._clock_times(last), None)
        return None if further is None else self._next_near_change(moment, last, further)

    def _clock_times(self, after: datetime) -> Iterator[datetime]:
        """The times of the clock that the expression names, after that one, in order."""
        simulator = copy(self._simulator)
        simulator.dt = after.replace(microsecond=0)
        return iter(simulator)

    def _is_regular(self, local: datetime) -> bool:
        """Whether the clock is not changed near that time."""
        offsets = {
            (local + shift).replace(tzinfo=self._zone).utcoffset()
            for shift in (-_MAX_SHIFT, timedelta(), _MAX_SHIFT)
        }
        return len(offsets) == 1

    def _instants(self, time: datetime) -> Iterator[datetime]:
        """The instants at which the clock shows ``time``, or at which that is made up for."""
        instants = [_instant(time, self._zone, fold) for fold in (0, 1)]
        shown = [i for i in instants if _clock_time(i, self._zone) == time]
        if shown:
            yield from set(shown) if self._is_even else shown[:1]
        elif not self._is_even:
            yield _first_shown(time, self._zone)


def _clock_time(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _instant(time: datetime, zone: tzinfo, fold: int = 0) -> datetime:
    return time.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _first_shown(time: datetime, zone: tzinfo) -> datetime:
    """The instant of the first minute after ``time``, which the clock skips, that it shows."""
    while _clock_time(_instant(time, zone), zone) != time:
        time += _MINUTE
    return _instant(time, zone)


@lru_cache(maxsize=5000)
def parse_ticks(when: str | timedelta, zone: str) -> Ticks:
    """The ticks of a cron expression or an interval; raises ValueError for what is none."""
    if isinstance(when, timedelta):
        if when < SHORTEST:
            raise ValueError(f"the interval {when} is shorter than a second")
        if when > LONGEST:
            raise ValueError(f"the interval {when} is longer than a hundred years")
        return Interval(when)
    table = Cron(when, find_zone(zone))
    if table.next_after(EPOCH + timedelta(days=20_000)) is None:
        raise ValueError(f"{when!r} is never due")
    return table


def find_zone(name: str) -> ZoneInfo:
    """The time zone of that name; raises ValueError if there is none.

    A file beside those of the zones, such as ``localtime``, is none: another machine may have
    another one.
    """
    if name not in _zone_names():
        raise ValueError(f"there is no time zone {name!r}")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime"})


def ticks_between(table: Ticks, after: datetime, until: datetime) -> Iterator[datetime]:
    """The ticks after ``after`` up to and including ``until``, in order."""
    tick = table.next_after(after)
    while tick is not None and tick <= until:
        yield tick
        tick = table.next_after(tick)


def last_ticks(table: Ticks, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """As ``ticks_between``, but only the last ``limit`` of them, however long the time is."""
    period, found = _FIRST_PERIOD, list[datetime]()
    while len(found) < limit:
        begin = max(after, until - period)
        found = list(ticks_between(table, begin, until))
        if begin == after:
            break
        period *= _GROWTH
    return found[-limit:]

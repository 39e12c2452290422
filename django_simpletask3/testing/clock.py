"""The clock of the package, as a test sets it."""

from __future__ import annotations

import numbers
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Self

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from ..conf import time_source
from ..db import clock as database_clock
from .decorators import FunctionDecorator

#: The clocks whose blocks were entered: the last one tells the time.
_clocks: list[TaskClock] = []


class TaskClock:
    """The time of the package within a block of ``task_clock()``: it stands still until moved."""

    def __init__(self, moment: datetime) -> None:
        self._moment = self._earliest = moment

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._moment.isoformat()}>"

    @property
    def now(self) -> datetime:
        """The time that it shows: aware, or naive and local if USE_TZ is False, as columns are."""
        return time_source.stored(self._moment)

    def move_to(self, moment: datetime | str) -> None:
        """Show ``moment``, which is given as to ``task_clock()``; it may be an earlier time."""
        self._show(_instant(moment, "move_to()"))

    def shift(self, delta: timedelta | float) -> None:
        """Go ahead by ``delta``, a timedelta or seconds; back if that is negative."""
        self._show(self._moment + _duration(delta))

    def _show(self, moment: datetime) -> None:
        self._moment, self._earliest = moment, min(moment, self._earliest)


class task_clock(FunctionDecorator):  # noqa: N801 - used as override_settings() is
    """A context manager, and a decorator of functions: a test sets the time of the package.

    Within it, the time stands still: now, or at ``moment``, an aware datetime or the text of one,
    such as ``"2026-03-29T00:30+00:00"``. Moved by the TaskClock that the block is given, it makes
    due what waits: retries, later tasks, expiry, leases, limits, schedules, retention and
    deliveries. ``run_tasks()`` then also fires the ticks that are due, and recovers tasks whose
    lease is over. All databases and all threads of this process go by it, and nothing else does:
    neither ``timezone.now()`` nor SQL's ``NOW()``, nor other processes.

    Blocks may be nested: the innermost one tells the time.
    """

    def __init__(self, moment: datetime | str | None = None) -> None:
        self._given = None if moment is None else _instant(moment, "task_clock()")
        #: The clocks of its blocks: it may be used again within its block.
        self._entered: list[TaskClock] = []

    def another(self) -> Self:
        return type(self)(self._given)

    def __enter__(self) -> TaskClock:
        # As time-machine and freezegun have it, if they are used as well.
        clock = TaskClock(database_clock.latest_now() if self._given is None else self._given)
        self._entered.append(clock)
        _clocks.append(clock)
        _use_last_clock()
        return clock

    def __exit__(self, *exception: Any) -> None:
        _clocks.remove(self._entered.pop())
        _use_last_clock()

    async def __aenter__(self) -> TaskClock:
        return self.__enter__()

    async def __aexit__(self, *exception: Any) -> None:
        self.__exit__(*exception)


def current_clock() -> TaskClock | None:
    """The clock of the innermost block of ``task_clock()``; None outside of one."""
    return _clocks[-1] if _clocks else None


def earliest_time(clock: TaskClock) -> datetime:
    """The earliest time that ``clock`` has shown, aware and in UTC."""
    return clock._earliest


def _use_last_clock() -> None:
    time_source.use(partial(_time_of, _clocks[-1]) if _clocks else None)


def _time_of(clock: TaskClock) -> datetime:
    return clock._moment


def _duration(delta: Any) -> timedelta:
    if isinstance(delta, timedelta):
        return delta
    if isinstance(delta, bool) or not isinstance(delta, numbers.Real | Decimal):
        raise TypeError(f"shift() got {delta!r}: expected a timedelta or seconds.")
    return timedelta(seconds=float(delta))


def _instant(moment: Any, function: str) -> datetime:
    """``moment``, a datetime or the text of one, in UTC; ``function`` is for messages."""
    expected = "expected an aware datetime, or a text such as '2026-03-29T00:30+00:00'"
    value = parse_datetime(moment) if isinstance(moment, str) else moment
    if isinstance(moment, str) and value is None:
        raise ValueError(f"{function} got the text {moment!r}: {expected}.")
    if not isinstance(value, datetime):
        raise TypeError(f"{function} got {moment!r}: {expected}.")
    if timezone.is_naive(value):
        if settings.USE_TZ:
            raise ValueError(
                f"{function} got the naive time {value}: give it a time zone, as in "
                "datetime(2026, 3, 29, tzinfo=UTC) or '2026-03-29T00:30+00:00'."
            )
        value = value.replace(tzinfo=time_source.default_zone())
    return value.astimezone(UTC)

"""The database's clock: times that several machines compare come from one clock.

A process reads that clock now and then, and counts on from the last reading by its steady clock. So
a step of this machine's own wall clock (NTP, an operator) changes no time that is written.
A test may set the time of all databases instead.
"""

from __future__ import annotations

import math
import numbers
import threading
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.db import Error, connections, models
from django.utils import timezone

from ..conf.time_source import default_zone, stored, time_of_test
from ..logs import get_logger

_logger = get_logger(__name__)

#: UTC, in seconds, whatever the time zone of the session or the server: UNIX_TIMESTAMP() would
#: read a local time, which does not tell the two hours of an autumn night apart.
_EPOCH_SQL = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
}
_TIME_FIELD: Any = models.DateTimeField(name="run_after")
#: An answer that took longer than this (seconds) tells the time badly: it is asked for again.
_MAX_REPLY_SECONDS = 0.5
_MAX_QUERIES = 3
#: Seconds after which a reading is taken again, and after which a process that never takes another
#: one goes by the wall clock if that has jumped since.
_FRESH_SECONDS = 60.0
_TRUSTED_SECONDS = 120.0
#: Seconds that a wall clock may go wrong by itself before it is read again.
_MAX_DRIFT = 0.005
_MAX_STEP = 0.5  # a clock that is off by more (seconds) has jumped
# Unlike CLOCK_MONOTONIC it goes on while the machine sleeps.
_STEADY_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Jump(NamedTuple):
    """A clock went ahead of the steady clock by ``seconds``; noticed ``at``, by that clock."""

    at: float
    seconds: float


class _Reading(NamedTuple):
    """One look at a database's clock and at the wall clock, both less the steady clock."""

    at: float
    offset: float
    wall_offset: float
    #: How much the offset may be wrong, and how far the times that are stored are from UTC.
    error: float
    zone_offset: float
    is_local: bool


_readings: dict[str, _Reading] = {}
_jumps: dict[str, Jump] = {}
_lock = threading.Lock()


def steady() -> float:
    """Seconds by a clock that no one sets, and that does not stop while the machine sleeps."""
    return time.clock_gettime(_STEADY_CLOCK)


def calibrate(using: str) -> bool:
    """Query the time of the database ``using`` once; ``now(using)`` is by that clock afterwards.

    Returns whether it was queried: a database on this machine (SQLite), or an unknown one, goes by
    the clock of the machine, and none is queried while a test sets the time. A reply slower than
    0.5 s is discarded and the query repeated. A clock that has jumped since the last reading is
    logged, and ``last_jump`` tells of it.
    """
    if time_of_test() is not None:
        return False
    reading = min(_read_clock(using), key=lambda reading: reading.error)
    with _lock:
        previous = _readings.get(using)
        if previous is None or previous.at <= reading.at:
            _readings[using] = reading
            _notice_jump(using, previous, reading)
    return not reading.is_local


def refresh(using: str) -> None:
    """Calibrate if the last reading is a minute old, or if a clock of this machine has jumped.

    A database that fails keeps its last reading.
    """
    reading = _readings.get(using)
    if (
        reading is None
        or reading.is_local
        or steady() - reading.at >= _FRESH_SECONDS
        or _is_wall_off(reading)
    ):
        with suppress(Error):
            calibrate(using)


def last_jump(using: str) -> Jump | None:
    """The last jump of the clock of ``using`` that this process noticed."""
    return _jumps.get(using)


def has_jumped_since(using: str, moment: float) -> bool:
    """Whether a clock has jumped after ``moment``, by ``steady()``; asks no database."""
    jump, reading = _jumps.get(using), _readings.get(using)
    return (jump is not None and jump.at > moment) or (
        reading is not None and _is_wall_off(reading)
    )


def now(using: str) -> datetime:
    """The time by the clock of ``using`` as last calibrated; aware if Django's USE_TZ says so.

    In a process that did not calibrate it is the time of this machine.
    """
    return stored(utc_now(using))


def utc_now(using: str) -> datetime:
    """As ``now(using)``, but always aware, and in UTC."""
    moment = time_of_test()
    return datetime.fromtimestamp(_epoch(using), UTC) if moment is None else moment


def latest_now() -> datetime:
    """The time of this machine, or of a database whose clock is a little ahead; aware, in UTC.

    What any database of this process has written lies before it, unless a clock is off.
    """
    moment, (wall_offset, error) = datetime.now(UTC), _wall_offset()
    times = [
        datetime.fromtimestamp(_epoch(using), UTC)
        for using, reading in list(_readings.items())
        # A tool that tests with the time may have set the wall clock, or have stopped it.
        if abs(wall_offset - reading.wall_offset) <= _MAX_DRIFT + error
    ]
    close = timedelta(seconds=_MAX_STEP)
    return max([moment, *(time for time in times if time - moment < close)])


def is_past(moment: datetime | None, using: str) -> bool:
    """Whether ``moment``, in any form that ``run_after`` may have, is not in the future."""
    return is_due(moment, now(using))


def is_due(run_after: datetime | None, now: datetime) -> bool:
    """Whether ``run_after``, in any form, is not after ``now``; False for an expression."""
    if hasattr(run_after, "resolve_expression"):
        return False  # only the database knows
    return run_after is None or bool(_TIME_FIELD.get_prep_value(run_after) <= now)


def seconds_until(moment: datetime | None, using: str) -> float:
    """Seconds from now to ``moment``, in any form that ``run_after`` may have.

    0 or less if it has passed, or is None; infinity for an expression: only the database knows.
    """
    if moment is None:
        return 0.0
    if hasattr(moment, "resolve_expression"):
        return math.inf
    return float((_TIME_FIELD.get_prep_value(moment) - now(using)).total_seconds())


def after(using: str, seconds: float) -> datetime:
    """The time ``seconds`` from now by the clock of ``using``.

    Local times (USE_TZ is False) skip an hour in spring and repeat one in autumn: then it is the
    later of two possible times, for a lease must not end early.
    """
    moment = utc_now(using)
    delay = timedelta(seconds=seconds)
    if settings.USE_TZ:
        return moment + delay
    return max(stored(moment + delay), stored(moment) + delay)


def time_of(value: Any, using: str) -> Any:
    """The ``run_after`` that ``value`` names, as ``moment_of`` has it.

    None, a date, a text or an expression is returned as it is.
    """
    is_date = isinstance(value, date) and not isinstance(value, datetime)
    if value is None or is_date or isinstance(value, str) or hasattr(value, "resolve_expression"):
        return value
    return moment_of(value, using, name="run_after")


def moment_of(value: object, using: str, *, name: str) -> datetime:
    """The time that ``value`` names: seconds or a timedelta from now, or an aware datetime.

    Raises ValueError if the time is beyond the calendar, or a naive datetime (unless USE_TZ is
    False), TypeError for what is none of these; ``name`` is what the message calls it.
    """
    expected = "expected seconds or a timedelta from now, or an aware datetime"
    if isinstance(value, datetime):
        if timezone.is_aware(value):
            return stored(value)
        if settings.USE_TZ:
            raise ValueError(f"{name} is the naive datetime {value}: {expected}.")
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real | Decimal):
        raise TypeError(f"{name} is of type {type(value).__name__}: {expected}.")
    try:
        return after(using, float(seconds))
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is out of range: {expected}.") from None


def _epoch(using: str) -> float:
    reading = _readings.get(using)
    if reading is None or reading.is_local:
        return time.time()
    now = steady()
    if now - reading.at > _TRUSTED_SECONDS and _is_wall_off(reading):
        return time.time()
    return now + reading.offset


def _read_clock(using: str) -> list[_Reading]:
    readings: list[_Reading] = []
    while len(readings) < _MAX_QUERIES:
        readings.append(_read_once(using))
        if readings[-1].error < _MAX_REPLY_SECONDS / 2:
            break
    return readings


def _read_once(using: str) -> _Reading:
    sql = _EPOCH_SQL.get(connections[using].vendor)
    began = steady()
    wall_offset, error = _wall_offset()
    if sql is None:
        zone_offset = _zone_offset(wall_offset + began)
        return _Reading(began, wall_offset, wall_offset, error, zone_offset, is_local=True)
    before = steady()
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        (epoch,) = map(float, cursor.fetchone())
    after = steady()
    offset, error = epoch - (before + after) / 2, (after - before) / 2
    return _Reading(began, offset, wall_offset, error, _zone_offset(epoch), is_local=False)


def _wall_offset() -> tuple[float, float]:
    """The wall clock less the steady clock, and how much that may be wrong."""
    before, wall, after = steady(), time.time(), steady()
    return wall - (before + after) / 2, (after - before) / 2


def _zone_offset(epoch: float) -> float:
    if settings.USE_TZ:
        return 0.0
    local = datetime.fromtimestamp(epoch, UTC).astimezone(default_zone())
    return local.utcoffset().total_seconds()  # type: ignore[union-attr]


def _notice_jump(using: str, previous: _Reading | None, reading: _Reading) -> None:
    if previous is None:
        return
    seconds = reading.offset + reading.zone_offset - previous.offset - previous.zone_offset
    if abs(seconds) > _MAX_STEP + previous.error + reading.error:
        _jumps[using] = Jump(reading.at, seconds)
        _logger.warning("clock_jumped database=%s seconds=%.1f", using, seconds)


def _is_wall_off(reading: _Reading) -> bool:
    offset, error = _wall_offset()
    return abs(offset - reading.wall_offset) > _MAX_STEP + error

"""The labels of a time axis, at round times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from .times import format_day, local_time

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: Seconds between two labels.
_STEPS = (
    *(1, 2, 5, 10, 20, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 20, 30)),
    *(_HOUR * n for n in (1, 2, 4, 6, 12)),
    *(_DAY * n for n in (1, 2, 7, 14, 30, 60, 120, 365)),
)
#: Round times between begin and end.
_MAX_TICKS = 4
#: Of the axis, in percent, that no round time comes to its begin and end.
_ROOM_AT_BEGIN, _ROOM_AT_END = 13.0, 15.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at ``x`` percent of the axis."""

    x: float
    text: str
    anchor: str = "middle"


def share(instant: datetime, begin: datetime, end: datetime) -> float:
    """Where ``instant`` is between ``begin`` and ``end``, in percent."""
    seconds = (end - begin).total_seconds()
    if seconds <= 0:
        return 0.0
    return round(min(max((instant - begin).total_seconds() / seconds, 0.0), 1.0) * 100, 2)


def ticks(begin: datetime, end: datetime, *, ends_now: bool = False) -> list[Tick]:
    """The labels from ``begin`` to ``end``: both ends, and at most four round times between."""
    step = _step((end - begin).total_seconds())
    last = _("now") if ends_now else _label(end, begin, step)
    inner = [
        Tick(x, _label(instant, begin, step))
        for instant in _round_times(begin, end, step)
        if _ROOM_AT_BEGIN <= (x := share(instant, begin, end)) <= 100 - _ROOM_AT_END
    ]
    return [Tick(0, _label(begin, begin, step), "start"), *inner, Tick(100, last, "end")]


def _step(seconds: float) -> int:
    return next((step for step in _STEPS if seconds / step <= _MAX_TICKS + 1), _STEPS[-1] * 10)


def _round_times(begin: datetime, end: datetime, step: int) -> list[datetime]:
    local = local_time(begin)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = (local - midnight).total_seconds()
    first = midnight + timedelta(seconds=(passed // step + 1) * step)
    instants = (first + timedelta(seconds=step * number) for number in range(_MAX_TICKS + 2))
    return [instant for instant in instants if instant < end]


def _label(instant: datetime, begin: datetime, step: int) -> str:
    local, first = local_time(instant), local_time(begin)
    if step >= _DAY:
        return format_day(local, first.date())
    time_of_day = f"{local:%H:%M}" if step >= _MINUTE and not local.second else f"{local:%H:%M:%S}"
    if local.date() == first.date():
        return time_of_day
    return f"{format_day(local, first.date())} {time_of_day}"

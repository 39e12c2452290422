"""What schedules did last, when they are due next, and which of them are overdue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import router
from django.db.models import OuterRef, Subquery

from ..db import clock
from ..schedules.declared import known_schedules
from ..schedules.tables import (
    Schedule,
    ScheduleTick,
    has_schedules_table,
    newest_ticks,
    schedules_of,
    ticks_of,
)
from ..schedules.targets import find_target
from ..schedules.ticks import find_zone
from .health_types import OverdueSchedule

#: Schedules that are read of a database.
MAX_ROWS = 1000
#: Seconds after which a tick that no node has fired is a problem.
OVERDUE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LastTick:
    """The newest tick of a schedule, or what an operator had run since; ``task`` may be empty."""

    tick: str
    outcome: str
    model: str
    task: str
    message: str


@dataclass(frozen=True, slots=True)
class ScheduleReport:
    """One schedule in one database; times are in ISO 8601, in its time zone.

    ``is_orphaned``: neither the code of this process nor an operator has it, or its model is gone,
    so this code does not fire it. ``error`` is not empty if the row cannot be read. ``overdue`` is
    for how many seconds a tick has not been fired.
    """

    schedule: str
    database: str
    target: str
    when: str
    zone: str
    enabled: bool
    reason: str
    is_own: bool
    is_orphaned: bool
    error: str
    overdue: float | None
    last: LastTick | None
    next: list[str]


def report_schedules(using: str, ticks: int = 1) -> list[ScheduleReport]:
    """The first 1000 schedules of the database, with their next ``ticks``; three queries."""
    if not has_schedules_table(using):
        return []
    rows = list(schedules_of(using).order_by("key")[:MAX_ROWS])
    last, newest = last_ticks_of(using, rows), newest_ticks(using)
    now = clock.utc_now(using)
    return [
        _report(row, using, now, last=last.get(row.key), newest=newest.get(row.key), number=ticks)
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class UpcomingSchedule:
    """A schedule with its next tick, None if it is disabled, not fired, or cannot be read."""

    row: Schedule
    next: datetime | None
    last: ScheduleTick | None = None


def upcoming_schedules(
    using: str, number: int, may_show: Callable[[Schedule], bool]
) -> tuple[list[UpcomingSchedule], int]:
    """The ``number`` schedules that are due first, and how many there are; two queries.

    Of the first 1000, those that ``may_show`` allows. Those without a next tick come last.
    """
    if not has_schedules_table(using):
        return [], 0
    now = clock.utc_now(using)
    rows = [row for row in schedules_of(using).order_by("key")[:MAX_ROWS] if may_show(row)]
    found = [UpcomingSchedule(row, _next_tick(row, using, now)) for row in rows]
    found.sort(key=lambda one: (one.next is None, one.next or now, one.row.key))
    shown = found[:number]
    last = last_ticks_of(using, [one.row for one in shown])
    return [replace(one, last=last.get(one.row.key)) for one in shown], len(found)


def _next_tick(row: Schedule, using: str, now: datetime) -> datetime | None:
    if is_orphaned(row, using):
        return None
    try:
        return next(iter(next_ticks(row, now, 1)), None)
    except (ValueError, OverflowError):
        return None


def overdue_schedules(using: str) -> list[OverdueSchedule]:
    """The schedules of the database with a tick that no node has fired in time; two queries."""
    if not has_schedules_table(using):
        return []
    rows = list(schedules_of(using).filter(enabled=True).order_by("key")[:MAX_ROWS])
    newest, now = newest_ticks(using) if rows else {}, clock.utc_now(using)
    overdue = {row.key: overdue_seconds(row, using, newest.get(row.key), now) for row in rows}
    return [
        OverdueSchedule(schedule=key, database=using, overdue=round(seconds, 3))
        for key, seconds in overdue.items()
        if seconds is not None and seconds > OVERDUE_SECONDS
    ]


def overdue_seconds(
    row: Schedule, using: str, newest: datetime | None, now: datetime
) -> float | None:
    """For how long a tick is overdue that this code may fire; None if there is none."""
    if not row.enabled or is_orphaned(row, using):
        return None
    try:
        tick = row.parse_ticks().next_after(max(row.active_since, newest or row.active_since))
    except (ValueError, OverflowError):
        return None
    return (now - tick).total_seconds() if tick is not None and tick < now else None


def is_orphaned(row: Schedule, using: str) -> bool:
    """Whether this code does not fire the schedule: it does not declare it, or has no model."""
    target = find_target(row.target)
    if target is None or router.db_for_write(target.model) != using:
        return True
    return not row.is_own and row.key not in known_schedules()


def next_ticks(row: Schedule, now: datetime, number: int) -> list[datetime]:
    """The next ticks in the zone of the schedule; none of one that is disabled.

    Raises ValueError if the row cannot be read. Ask ``is_orphaned`` whether they are fired.
    """
    zone = find_zone(row.zone) if row.zone else UTC
    ticks, found = row.parse_ticks(), list[datetime]()
    moment: datetime | None = max(now, row.active_since)
    while row.enabled and moment is not None and len(found) < number:
        moment = ticks.next_after(moment)
        found += [] if moment is None else [moment.astimezone(zone)]
    return found


def last_ticks_of(using: str, rows: list[Schedule]) -> dict[str, ScheduleTick]:
    """The newest tick of each of these schedules, by key; one query."""
    if not rows:
        return {}
    newest = ticks_of(using).filter(schedule=OuterRef("schedule")).order_by("-tick").values("pk")
    ticks = ticks_of(using).filter(pk=Subquery(newest[:1]), schedule__in=[row.key for row in rows])
    return {tick.schedule: tick for tick in ticks}


def in_zone_of(row: Schedule, moment: datetime) -> datetime:
    """``moment`` in the time zone of the schedule; in UTC if it has none."""
    try:
        return moment.astimezone(find_zone(row.zone) if row.zone else UTC)
    except ValueError:
        return moment


def when_text(row: Schedule) -> str:
    """The expression, or the interval, as text."""
    return row.cron if row.interval is None else f"every {row.interval}"


def _report(
    row: Schedule,
    using: str,
    now: datetime,
    *,
    last: ScheduleTick | None,
    newest: datetime | None,
    number: int,
) -> ScheduleReport:
    error, following, is_left = "", list[datetime](), is_orphaned(row, using)
    try:
        following = next_ticks(row, now, 0 if is_left else number)
    except (ValueError, OverflowError) as fault:
        error = str(fault)
    return ScheduleReport(
        schedule=row.key,
        database=using,
        target=row.target,
        when=when_text(row),
        zone=row.zone,
        enabled=row.enabled,
        reason=row.reason,
        is_own=row.is_own,
        is_orphaned=is_left,
        error=error,
        overdue=overdue_seconds(row, using, newest, now),
        last=None if last is None else _last(last, row),
        next=[tick.isoformat() for tick in following],
    )


def _last(tick: Any, row: Schedule) -> LastTick:
    moment = in_zone_of(row, tick.tick)
    values = (tick.outcome, tick.model, tick.task_key, tick.message)
    return LastTick(moment.isoformat(), *values)

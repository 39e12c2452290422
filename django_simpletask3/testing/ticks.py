"""Fire the ticks of schedules that the clock of a test has made due."""

from __future__ import annotations

from datetime import datetime
from itertools import chain

from ..db import clock
from ..schedules.due import due_ticks
from ..schedules.firing import DueTick, fire
from ..schedules.sync import definitions_by_database, write_definitions
from ..schedules.tables import Schedule, has_schedules_table, newest_ticks, schedules_of
from ..schedules.targets import find_target
from .clock import TaskClock, earliest_time, task_clock
from .selection import Selection


def fire_due_ticks(selection: Selection, test_clock: TaskClock) -> None:
    """Fire the due ticks of the schedules of the models of ``selection``, the earliest first.

    The schedules of the code are written first, as a node does. All begin at the earliest time
    that ``test_clock`` has shown; those that were made, enabled or retimed since then begin at that
    time.
    """
    _write_definitions(selection, earliest_time(test_clock))
    for using in filter(has_schedules_table, selection.databases):
        rows = [row for row in schedules_of(using) if _is_of(row, selection)]
        now = clock.utc_now(using)
        newest = newest_ticks(using) if rows else {}
        due = chain.from_iterable(
            due_ticks(row, _handled(row, newest.get(row.key), test_clock, now), now, using)
            for row in rows
        )
        for tick in sorted(due, key=_order):
            fire(tick, using)


def _write_definitions(selection: Selection, begin: datetime) -> None:
    with task_clock(begin):
        for using, declared in definitions_by_database().items():
            wanted = [d for d in declared if d.target and d.target.model in selection.models]
            if wanted and using in selection.databases and has_schedules_table(using):
                write_definitions(using, wanted)


def _is_of(row: Schedule, selection: Selection) -> bool:
    target = find_target(row.target)
    return target is not None and target.model in selection.models


def _handled(
    row: Schedule, newest: datetime | None, test_clock: TaskClock, now: datetime
) -> datetime:
    """The time until which the ticks of ``row`` are not fired any more."""
    begin = earliest_time(test_clock)
    if begin <= row.active_since <= now:
        begin = row.active_since
    return max(begin, newest or begin)


def _order(due: DueTick) -> tuple[datetime, str]:
    return due.tick, due.schedule.key

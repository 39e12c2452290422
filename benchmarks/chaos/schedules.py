"""A schedule that is due, and whether each of its ticks has one task."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.chaos.models import Job
from django_simpletask3.db import clock
from django_simpletask3.ledger.event import events_of
from django_simpletask3.schedules.definition import CatchUp
from django_simpletask3.schedules.tables import Outcome, Schedule, ScheduleTick, new_change_mark
from django_simpletask3.schedules.targets import find_target
from django_simpletask3.schedules.ticks import ticks_between
from django_simpletask3.states import EventKind

_INTERVAL = timedelta(hours=1)


def add_due_schedule(target: str = Job._meta.label, *, ticks: int = 1, **columns: Any) -> None:
    """Leave one schedule, a new one, of which so many ticks are due, or one more."""
    Schedule.objects.all().delete()
    ScheduleTick.objects.all().delete()
    defaults: dict[str, Any] = {
        "key": f"chaos {time.time_ns()}",
        "target": target,
        "fields": {},
        "active_since": clock.utc_now("default") - (ticks + 0.5) * _INTERVAL,
        "catch_up": CatchUp.ALL if ticks > 1 else CatchUp.LAST,
    }
    columns = {"change_mark": new_change_mark(), **defaults, **columns}
    Schedule.objects.create(is_own=True, interval=_INTERVAL, **columns)


def wrong_ticks() -> Iterator[str]:
    """Yield each tick that was not fired, or that has not one task."""
    schedule = Schedule.objects.first()
    target = None if schedule is None else find_target(schedule.target)
    if schedule is None or target is None:
        return
    events = events_of(target.model, "default").filter(kind=EventKind.ENQUEUE)
    ours = [event.data for event in events if (event.data or {}).get("schedule") == schedule.key]
    enqueued = Counter(data["tick"] for data in ours)
    ticks = {one.tick: one for one in ScheduleTick.objects.filter(schedule=schedule.key)}
    added = datetime.fromtimestamp(int(schedule.key.split()[-1]) / 1e9, UTC)
    due = ticks_between(schedule.parse_ticks(), schedule.active_since, added)
    for tick in list(due)[0 if schedule.catch_up == CatchUp.ALL else -1 :]:
        if tick not in ticks:
            yield f"the tick {tick} was not fired"
    for one in ticks.values():
        tasks = enqueued[one.tick.isoformat()]
        if one.outcome != Outcome.FIRED or tasks != 1:
            yield f"the tick {one.tick} is {one.outcome}, with {tasks} tasks"

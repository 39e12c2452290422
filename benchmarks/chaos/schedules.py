"""A schedule that is due, and whether each of its ticks has one task."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from benchmarks.chaos.models import Job
from django_simpletask3.db import clock
from django_simpletask3.ledger.event import events_of
from django_simpletask3.schedules.tables import Outcome, Schedule, ScheduleTick
from django_simpletask3.states import EventKind

_INTERVAL = timedelta(hours=1)


def add_due_schedule() -> None:
    """Leave one schedule of jobs, a new one, of which a tick is due."""
    Schedule.objects.all().delete()
    ScheduleTick.objects.all().delete()
    columns: dict[str, Any] = {
        "key": f"chaos {time.time_ns()}",
        "target": Job._meta.label,
        "fields": {},
        "active_since": clock.utc_now("default") - 1.5 * _INTERVAL,
    }
    changed = clock.now("default")
    Schedule.objects.create(is_own=True, interval=_INTERVAL, changed=changed, **columns)


def wrong_ticks() -> Iterator[str]:
    """Yield each tick that was not fired, or that has not one task."""
    schedule = Schedule.objects.first()
    if schedule is None:
        return
    events = events_of(Job, "default").filter(kind=EventKind.ENQUEUE)
    ours = [event.data for event in events if event.data.get("schedule") == schedule.key]
    enqueued = Counter(data["tick"] for data in ours)
    ticks = list(ScheduleTick.objects.filter(schedule=schedule.key))
    if not ticks:
        yield "no tick was fired"
    for tick in ticks:
        tasks = enqueued[tick.tick.isoformat()]
        if tick.outcome != Outcome.FIRED or tasks != 1:
            yield f"the tick {tick.tick} is {tick.outcome}, with {tasks} tasks"

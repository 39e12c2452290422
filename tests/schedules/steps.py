"""Schedules in the table, and what became of their ticks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django_simpletask3.recovery.schedules import SchedulesJob
from django_simpletask3.schedules.tables import Schedule, ScheduleTick, new_change_mark
from tests.testapp.models import Invoice

#: When schedules of the tests begin: a Monday.
BEGIN = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
HOURLY = "0 * * * *"
HOUR = timedelta(hours=1)


def make_schedule(key: str = "own", **columns: Any) -> Schedule:
    """An own schedule of invoices, hourly, which begins at BEGIN."""
    defaults: dict[str, Any] = {
        "key": key,
        "target": "testapp.Invoice",
        "is_own": True,
        "cron": HOURLY,
        "zone": "UTC",
        "fields": {"amount": 7},
        "active_since": BEGIN,
        "change_mark": new_change_mark(),
    }
    return Schedule.objects.create(**{**defaults, **columns})


def new_node() -> SchedulesJob:
    """The job of a process that has just started."""
    return SchedulesJob(60.0, lambda: 0)


def outcomes(key: str = "own") -> list[tuple[datetime, str]]:
    ticks = ScheduleTick.objects.filter(schedule=key).order_by("tick")
    return list(ticks.values_list("tick", "outcome"))


def fired(key: str = "own") -> list[datetime]:
    return [tick for tick, outcome in outcomes(key) if outcome == "fired"]


def ticks_of_tasks() -> list[str]:
    """The ticks in the enqueue events of all invoices, as text, in their order."""
    events = [task.events.get(kind="enqueue") for task in Invoice.objects.order_by("pk")]
    return [event.data["tick"] for event in events]

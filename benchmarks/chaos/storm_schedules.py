"""The schedules of random-faults, and whether each of their ticks was fired once, and in time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps

from benchmarks.chaos import tasks
from benchmarks.chaos.models import MODELS, Job, Parcel, Part
from benchmarks.chaos.node_lives import NodeLives
from benchmarks.chaos.versions import VERSION
from django_simpletask3.db import clock
from django_simpletask3.ledger.event import events_of
from django_simpletask3.schedules import operators, schedule
from django_simpletask3.schedules.declared import declared_schedules
from django_simpletask3.schedules.definition import CatchUp, Overlap, jitter_of
from django_simpletask3.schedules.tables import Outcome, Schedule, ScheduleTick, newest_ticks
from django_simpletask3.schedules.ticks import ticks_between
from django_simpletask3.states import FINAL, EventKind

OWN = "own"
_TOLERANCE = timedelta(seconds=0.2)  # processes read the clock of the database now and then
#: Seconds in which a process fires a tick for sure, also while others take the processor time.
_PATIENCE = timedelta(seconds=8)

_MOMENT = timedelta(microseconds=1)

Violations = Iterator[tuple[str, str]]


def declare() -> None:
    """Declare the schedules, on models and functions; each is due every few seconds."""
    # Its fields differ between versions: each node that starts writes the row again.
    every_two = {"seconds": 0.001 * VERSION}
    schedule(timedelta(seconds=2), catch_up="all", fields=every_two)(Job)
    # Some of its tasks take longer than from one tick to the next.
    schedule(timedelta(seconds=1), name="skip", fields=_parcel_of, overlap="skip")(Parcel)
    schedule("* * * * *", timezone="Europe/Berlin", catch_up="all")(Part)
    schedule(timedelta(seconds=6), catch_up="skip", fields=_call_of)(tasks.work)
    late = schedule(
        timedelta(seconds=3), catch_up="all", fields={"number": 1}, jitter=10, deadline=600
    )
    late(tasks.try_again)
    # Another call has the key, now and then.
    schedule(timedelta(seconds=5), fields={"number": 1, "seconds": 1.0})(tasks.join)


def _parcel_of(tick: datetime) -> dict[str, Any]:
    return {"seconds": 2.5 if tick.second % 10 == 0 else 0.0}


def _call_of(tick: datetime) -> dict[str, Any]:
    return {"number": int(tick.timestamp())}


def add_own() -> None:
    """Add a schedule of an operator, which producers change and run now."""
    columns: dict[str, Any] = {"interval": timedelta(seconds=2), "fields": {}}
    own = Schedule(key=OWN, target=Job._meta.label, **columns)
    operators.save_own(own, "default")


def are_caught_up() -> bool:
    """Whether the ticks of all schedules have been fired, but for those of the last seconds."""
    clock.refresh("default")
    soon, newest = clock.utc_now("default") - _PATIENCE, newest_ticks("default")
    for row in Schedule.objects.filter(catch_up=CatchUp.ALL):
        following = row.parse_ticks().next_after(newest.get(row.key, row.active_since))
        if following is not None and following < soon:
            return False
    return True


def stop() -> datetime:
    """Let no further tick be fired; return when."""
    operators.disable(Schedule.objects.values_list("pk", flat=True), "default", "the run ends")
    return clock.utc_now("default")


def count_fired() -> int:
    """Return how many ticks were fired, of those that are kept."""
    return ScheduleTick.objects.filter(outcome=Outcome.FIRED).count()


@dataclass(frozen=True, slots=True)
class _Fired:
    """A task of a tick: its model, its key, its ``enqueue`` event."""

    model: Any
    key: Any
    time: datetime
    data: Any


#: The tasks of each tick.
Tasks = dict[datetime, list[_Fired]]


def problems(lives: NodeLives, ended: datetime) -> Violations:
    """Yield what is wrong with the ticks until ``ended``."""
    rows = {row.key: row for row in Schedule.objects.all()}
    if rows.keys() != (keys := {declared.key for declared in declared_schedules()} | {OWN}):
        yield "ticks", f"the schedules are {sorted(rows)}, not {sorted(keys)}"
    found = _tasks()
    for key, row in rows.items():
        fired = {tick: tasks_of for (name, tick), tasks_of in found.items() if name == key}
        ticks = list(ScheduleTick.objects.filter(schedule=key).exclude(outcome=Outcome.RUN_NOW))
        for text in _problems_of(row, ticks, fired, lives, ended):
            yield "ticks", f"{key}: {text}"


def _problems_of(
    row: Schedule,
    ticks: Sequence[ScheduleTick],
    fired: Tasks,
    lives: NodeLives,
    ended: datetime,
) -> Iterator[str]:
    yield from _wrong_ticks(row, ticks, fired)
    if row.key != OWN:  # it is retimed and disabled
        # Another call may have the unique key all the time.
        has_task = fired or any(one.outcome == Outcome.JOINED for one in ticks)
        if not has_task and _missing(row, set(), ended - _PATIENCE):
            yield "it was never fired"
        yield from _gaps(row, ticks, fired, lives, ended)
    if row.overlap == Overlap.SKIP:
        yield from _wrong_overlaps(ticks, fired)


def _tasks() -> dict[tuple[str, datetime], list[_Fired]]:
    """Return the tasks that were enqueued for each tick of each schedule."""
    found: dict[tuple[str, datetime], list[_Fired]] = {}
    for model in MODELS.values():
        enqueued = events_of(model, None).filter(kind=EventKind.ENQUEUE, actor__startswith="sched")
        for event in enqueued.iterator():
            if "tick" in event.data:
                tick = datetime.fromisoformat(event.data["tick"])
                task = _Fired(model, event.task_id, event.event_time, event.data)
                found.setdefault((event.data["schedule"], tick), []).append(task)
    return found


def _wrong_ticks(row: Schedule, ticks: Sequence[ScheduleTick], fired: Tasks) -> Iterator[str]:
    """Yield ticks that have not one task, that are none, or were fired too early."""
    for tick, found in fired.items():
        if len(found) > 1:
            yield f"the tick {tick} has {len(found)} tasks"
        if row.key != OWN and row.parse_ticks().next_after(tick - _MOMENT) != tick:
            yield f"{tick} is no tick"
        if found[0].time < tick - _TOLERANCE:
            yield f"the tick {tick} was fired at {found[0].time}"
        yield from _wrong_fields(row, tick, found[0])
    yield from _wrong_outcomes(ticks, fired)


def _wrong_outcomes(ticks: Sequence[ScheduleTick], fired: Tasks) -> Iterator[str]:
    """Yield ticks of which the table says something else than the tasks."""
    for one in ticks:
        tasks_of_tick = [str(task.key) for task in fired.get(one.tick, ())]
        if one.outcome == Outcome.JOINED and not _has_joined(one):
            yield f"the tick {one.tick} has joined {one.task_key}, which is not there"
        if tasks_of_tick != ([one.task_key] if one.outcome == Outcome.FIRED else []):
            yield f"the tick {one.tick} is {one.outcome}, and has the tasks {tasks_of_tick}"
        if one.outcome in (Outcome.FAILED, Outcome.MISSED):
            yield f"the tick {one.tick} is {one.outcome}: {one.message}"


def _has_joined(tick: ScheduleTick) -> bool:
    """Whether the task is there which the tick has joined."""
    model: Any = apps.get_model(tick.model)
    return bool(model._base_manager.filter(pk=model._meta.pk.to_python(tick.task_key)).exists())


def _wrong_fields(row: Schedule, tick: datetime, task: _Fired) -> Iterator[str]:
    if row.jitter:
        first = _first_event(task, kind=EventKind.START)
        if first and first.event_time < tick + jitter_of(row.key, row.jitter) - _TOLERANCE:
            yield f"the task of {tick} was started at {first.event_time}"
    if row.key == tasks.work.module_path:
        number = task.model._base_manager.get(pk=task.key).kwargs["number"]
        if number != int(tick.timestamp()):
            yield f"the call of {tick} has the number {number}"


def _gaps(
    row: Schedule,
    ticks: Sequence[ScheduleTick],
    fired: Tasks,
    lives: NodeLives,
    ended: datetime,
) -> Iterator[str]:
    """Yield ticks that were not fired though they should have been: all of them, or any in time.

    Of several ticks that are due together, the last one is fired.
    """
    handled = {one.tick for one in ticks} | fired.keys()
    # What was skipped long ago is not kept.
    since = min((one.tick for one in ticks), default=None) if row.overlap == Overlap.SKIP else None
    missing = _missing(row, handled, ended - _PATIENCE, since=since)
    for tick in missing:
        late = tick + _PATIENCE
        if row.catch_up == CatchUp.ALL:
            yield f"the tick {tick} was not fired"
        elif not any(tick < one <= late for one in handled) and lives.covers(tick, late):
            yield f"neither the tick {tick} was fired nor one until {late}"


def _missing(
    row: Schedule,
    handled: set[datetime],
    until: datetime,
    *,
    since: datetime | None = None,
) -> list[datetime]:
    ticks = ticks_between(row.parse_ticks(), since or row.active_since, until)
    return [tick for tick in ticks if tick not in handled]


def _wrong_overlaps(ticks: Sequence[ScheduleTick], fired: Tasks) -> Iterator[str]:
    """Yield ticks that were fired while the last task ran, or skipped though it had ended."""
    last: _Fired | None = None
    outcomes = {one.tick: one.outcome for one in ticks} | dict.fromkeys(fired, Outcome.FIRED)
    for tick, outcome in sorted(outcomes.items()):
        end = None if last is None else _end_of(last)
        if outcome == Outcome.FIRED:
            [task, *_] = fired.get(tick, [None])
            if last and task and (end is None or end > task.time + _TOLERANCE):
                yield f"{tick} was fired at {task.time}, and the last task ended at {end}"
            last = task
        elif last is None or (end is not None and end < tick - _TOLERANCE):
            yield f"{tick} was skipped, and the last task had ended at {end}"


def _end_of(task: _Fired) -> datetime | None:
    """Return when the task ended for the first time."""
    first = _first_event(task, to_status__in=FINAL)
    return None if first is None else first.event_time


def _first_event(task: _Fired, **conditions: Any) -> Any:
    events = events_of(task.model, None).filter(task_id=task.key, **conditions)
    return events.order_by("sequence").first()

"""Schedules within ``task_clock()``: ``run_tasks()`` fires the ticks that are due."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_simpletask3.schedules import operators, schedule
from django_simpletask3.schedules.decorator import ATTRIBUTE
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from django_simpletask3.testing import eager_tasks, run_tasks, task_clock
from tests.schedules.steps import HOURLY, make_schedule
from tests.steps import create_task, stream_of
from tests.testapp.models import Elsewhere, Invoice, Offer, PaidInvoice, Reminder

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 27, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Declare = Callable[..., None]


@pytest.fixture
def declare() -> Iterator[Declare]:
    """Let the code of this process have this schedule of a model, until the test ends."""
    models: list[Any] = []

    def add(model: Any, when: str | timedelta = HOURLY, **arguments: Any) -> None:
        models.append(model)
        zone = {"timezone": "UTC"} if isinstance(when, str) else {}
        schedule(when, **{**zone, **arguments})(model)

    yield add
    for model in models:
        setattr(model, ATTRIBUTE, ())


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def ticks_of(tasks: list[Any]) -> list[datetime]:
    """The ticks for which these tasks were enqueued."""
    return [datetime.fromisoformat(stream_of(task)[0].data["tick"]) for task in tasks]


def test_ticks_fire_when_their_time_has_come(declare: Declare) -> None:
    declare(Invoice, fields={"amount": 3})

    with task_clock(NOON) as clock:
        first = run_tasks().succeeded
        clock.shift(3599)
        second = run_tasks().succeeded
        clock.shift(1)
        third = run_tasks().succeeded
        fourth = run_tasks().succeeded

    assert (first, second, fourth) == ([], [], [])
    assert ticks_of(third) == [at(1)]
    assert third[0].amount == 3
    assert third[0].add_time == at(1)
    assert stream_of(third[0])[0].actor == "schedule testapp.Invoice"


def test_outside_of_a_block_none_fires(declare: Declare) -> None:
    declare(Invoice, timedelta(microseconds=1))
    make_schedule(active_since=NOON, interval=timedelta(microseconds=1), cron="")

    assert run_tasks().succeeded == []
    assert not ScheduleTick.objects.exists()


@pytest.mark.parametrize(
    ("catch_up", "hours"),
    [("last", [5]), ("all", [1, 2, 3, 4, 5]), ("skip", [])],
)
def test_a_move_is_a_time_in_which_no_node_ran(
    declare: Declare, catch_up: str, hours: list[int]
) -> None:
    declare(Invoice, catch_up=catch_up)

    with task_clock(NOON) as clock:
        clock.shift(5.5 * 3600)
        caught_up = run_tasks().succeeded
        clock.move_to(at(6))
        on_time = run_tasks().succeeded

    assert ticks_of(caught_up) == [at(hour) for hour in hours]
    assert ticks_of(on_time) == [at(6)]


def test_a_tick_is_skipped_while_the_last_task_has_not_ended(declare: Declare) -> None:
    declare(Invoice, overlap="skip")

    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        run_tasks(until=lambda: True)
        clock.shift(HOUR)
        result = run_tasks()

    assert ticks_of(result.succeeded) == [at(1)]
    ticks = ScheduleTick.objects.order_by("tick").values_list("outcome", flat=True)
    assert list(ticks) == ["fired", "skipped"]


def test_jitter_is_waited_for(declare: Declare) -> None:
    declare(Invoice, jitter=timedelta(minutes=30))

    with task_clock(at(1)) as clock:
        clock.shift(HOUR)
        [task] = run_tasks().left
        assert at(2) < task.run_after <= at(2.5)
        clock.move_to(task.run_after)
        assert run_tasks().succeeded == [task]


def test_they_fire_in_the_order_of_their_ticks(declare: Declare) -> None:
    declare(PaidInvoice, "50 * * * *")
    declare(Invoice, "20 * * * *")
    declare(Reminder, "10 * * * *", fields={"text": "dear"})

    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        run_tasks()

    ticks = ScheduleTick.objects.order_by("pk").values_list("schedule", flat=True)
    assert list(ticks) == ["testapp.Reminder", "testapp.Invoice", "testapp.PaidInvoice"]


def test_only_those_of_the_models_that_run_fire(declare: Declare) -> None:
    for model in (Invoice, Reminder):
        declare(model)

    with task_clock(NOON) as clock:
        run_tasks()  # by now both schedules have rows
        task = create_task(Invoice)
        clock.shift(HOUR)
        alone = run_tasks(task)
        fired_alone = ScheduleTick.objects.exists()
        invoices = run_tasks(Invoice)
        all_others = run_tasks()

    assert (alone.succeeded, fired_alone) == ([task], False)
    assert [type(task) for task in invoices.succeeded] == [Invoice]
    assert [type(task) for task in all_others.succeeded] == [Reminder]


def test_eager_tasks_fire_none(declare: Declare) -> None:
    declare(Invoice)

    with task_clock(NOON) as clock, eager_tasks():
        clock.shift(HOUR)
        create_task(Reminder)

    assert not ScheduleTick.objects.exists()


def test_a_task_that_moves_the_clock_makes_a_tick_due(
    declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(Invoice)

    with task_clock(NOON) as clock:
        monkeypatch.setattr(Offer, "do_task", lambda self: clock.shift(HOUR))
        offer = create_task(Offer)
        result = run_tasks()

    assert result.succeeded[0] == offer
    assert ticks_of(result.succeeded[1:]) == [at(1)]


def test_the_schedule_of_a_task_of_another_database_fires(declare: Declare) -> None:
    declare(Elsewhere)

    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        [task] = run_tasks().succeeded

    assert type(task) is Elsewhere
    assert Schedule.objects.using(task._state.db).filter(key="testapp.Elsewhere").exists()


@pytest.mark.django_db(databases=["default"])
def test_the_schedule_of_a_database_that_the_test_must_not_use_is_left_alone(
    declare: Declare,
) -> None:
    declare(Elsewhere)
    declare(Invoice)

    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        result = run_tasks()

    assert [type(task) for task in result.succeeded] == [Invoice]


# When a schedule begins


def test_it_begins_at_the_earliest_time_that_was_shown(declare: Declare) -> None:
    declare(Invoice, catch_up="all")

    with task_clock() as clock:
        clock.move_to(NOON)
        clock.shift(2 * HOUR)
        result = run_tasks()

    assert ticks_of(result.succeeded) == [at(1), at(2)]


def test_the_fields_of_a_tick_are_computed_once(declare: Declare) -> None:
    computed: list[datetime] = []

    def fields(tick: datetime) -> dict[str, int]:
        computed.append(tick)
        return {"amount": tick.hour}

    declare(Invoice, fields=fields)
    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        results = [run_tasks(), run_tasks()]

    assert computed == [at(1)]
    assert [task.amount for result in results for task in result.succeeded] == [13]


def test_the_fields_of_other_models_are_not_computed(declare: Declare) -> None:
    computed: list[datetime] = []
    declare(Reminder, fields=lambda tick: computed.append(tick) or {"text": "dear"})

    with task_clock(NOON) as clock:
        run_tasks()  # by now the schedule has a row
        clock.shift(HOUR)
        run_tasks(Invoice)
        assert computed == []
        run_tasks(Reminder)

    assert computed == [at(1)]


def test_moved_back_no_tick_fires_twice(declare: Declare) -> None:
    declare(Invoice)

    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        run_tasks()
        clock.move_to(NOON)
        back = run_tasks()
        clock.shift(2 * HOUR)
        result = run_tasks()

    assert back.succeeded == []
    assert ticks_of(result.succeeded) == [at(2)]


def test_a_second_block_begins_anew(declare: Declare) -> None:
    declare(Invoice, catch_up="all")

    with task_clock(NOON) as clock:
        clock.shift(HOUR)
        run_tasks()
    with task_clock(NOON + DAY) as clock:
        first = run_tasks().succeeded
        clock.shift(HOUR)
        second = run_tasks().succeeded

    assert (first, ticks_of(second)) == ([], [at(25)])


@pytest.mark.parametrize("active_since", [NOON - DAY, NOON + 365 * DAY])
def test_one_that_was_there_before_the_block_begins_with_it(active_since: datetime) -> None:
    make_schedule(active_since=active_since, catch_up="all")

    with task_clock(NOON) as clock:
        clock.shift(2 * HOUR)
        result = run_tasks()

    assert ticks_of(result.succeeded) == [at(1), at(2)]


def test_one_that_is_made_or_enabled_within_it_begins_then(declare: Declare) -> None:
    declare(Invoice, catch_up="all")

    with task_clock(NOON) as clock:
        run_tasks()
        pk = Schedule.objects.get().pk
        operators.disable([pk], "default")
        clock.shift(2 * HOUR)
        assert run_tasks().succeeded == []
        operators.enable([pk], "default")
        make_schedule(active_since=clock.now, target="testapp.Reminder", fields={"text": "dear"})
        clock.shift(HOUR)
        result = run_tasks()

    assert {type(task) for task in result.succeeded} == {Invoice, Reminder}
    assert ticks_of(result.succeeded) == [at(3), at(3)]


# The change to and from summer time, and leap days


@pytest.mark.parametrize(
    ("day", "cron", "times"),
    [
        ("2026-03-28", "30 2 * * *", ["2026-03-29T01:00"]),  # 03:00: the clock skips 02:30
        ("2026-03-28", "0 * * * *", ["2026-03-29T00:00", "2026-03-29T01:00"]),
        ("2026-10-24", "30 2 * * *", ["2026-10-25T00:30"]),  # the first of two
        ("2026-10-24", "0 6 * * *", ["2026-10-25T05:00"]),
        ("2028-02-28", "0 6 29 2 *", ["2028-02-29T05:00"]),
        ("2027-02-28", "0 6 29 2 *", []),
    ],
)
def test_the_time_of_the_day_is_that_of_the_zone(
    declare: Declare, day: str, cron: str, times: list[str]
) -> None:
    declare(Invoice, cron, timezone="Europe/Berlin")
    ticks: list[datetime] = []

    with task_clock(f"{day}T23:30+00:00") as clock:
        for _ in range(4 if cron == HOURLY else 12):
            clock.shift(timedelta(minutes=30))
            ticks += ticks_of(run_tasks().succeeded)

    assert [f"{tick:%Y-%m-%dT%H:%M}" for tick in ticks] == times

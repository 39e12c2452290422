"""Statistics of a period: numbers of events, and durations of a sample of rows."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_simpletask3.db import clock
from django_simpletask3.db.limited_queries import first_rows
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.monitoring import statistics
from django_simpletask3.monitoring.scope import QueryScope
from django_simpletask3.monitoring.statistics import Period
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from tests.testapp.models import Elsewhere, Invoice, UuidKeyed

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _the_databases_clock_is_ours(monkeypatch: pytest.MonkeyPatch, time_machine: Any) -> None:
    """Times of tasks come from the clock of the database, which a test cannot set."""
    monkeypatch.setattr(clock, "now", lambda using: datetime.now(UTC))
    time_machine.move_to(NOON, tick=False)


def lived(time_machine: Any, end: EventKind, *, wait: float = 0, run: float = 0) -> Any:
    """A task that waits, runs and finishes, from now on."""
    task = Invoice.objects.create()
    time_machine.shift(wait)
    apply(task, EventKind.START, worker="node-1")
    time_machine.shift(run)
    apply(task, end, worker="node-1")
    return task


def test_finished_tasks_are_counted_in_their_bucket(time_machine) -> None:
    lived(time_machine, EventKind.ACK)
    time_machine.move_to(NOON + timedelta(hours=2), tick=False)
    lived(time_machine, EventKind.ACK)
    lived(time_machine, EventKind.FAIL)

    found = {bar.begin.hour: bar for bar in statistics.time_buckets(Period.DAY) if bar.succeeded}

    assert {hour: (bar.succeeded, bar.failed) for hour, bar in found.items()} == {
        12: (1, 0),
        14: (1, 1),
    }
    assert found[14].failure_rate == 0.5


@pytest.mark.parametrize(
    ("period", "number", "width"),
    [
        (Period.HOUR, 30, timedelta(minutes=2)),
        (Period.DAY, 24, timedelta(hours=1)),
        (Period.WEEK, 28, timedelta(hours=6)),
        (Period.MONTH, 30, timedelta(days=1)),
    ],
)
def test_bars_follow_each_other_until_now(period, number, width) -> None:
    found = statistics.time_buckets(period)

    assert len(found) == number
    assert {bar.end - bar.begin for bar in found} == {width}
    assert all(a.end == b.begin for a, b in pairwise(found))
    assert found[-1].begin <= NOON < found[-1].end


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata"])
@pytest.mark.parametrize("period", [Period.WEEK, Period.MONTH])
def test_days_begin_at_midnight_of_the_current_time_zone(period, zone) -> None:
    """Clocks of Los Angeles are set forward on 8 March 2026."""
    now = datetime(2026, 3, 10, 3, tzinfo=UTC)
    with timezone.override(zone):
        found = statistics.time_buckets(period, now=now)
        hours = {timezone.localtime(bar.begin).strftime("%H:%M") for bar in found}

    assert hours == ({"00:00"} if period is Period.MONTH else {"00:00", "06:00", "12:00", "18:00"})
    assert all(a.end == b.begin for a, b in pairwise(found))
    assert found[-1].begin <= now < found[-1].end


@pytest.mark.parametrize("period", Period)
def test_an_event_of_now_is_in_the_last_bar(time_machine, period) -> None:
    lived(time_machine, EventKind.ACK)

    found = statistics.time_buckets(period)

    assert [bar.succeeded for bar in found] == [0] * (len(found) - 1) + [1]


def test_how_long_tasks_waited_and_ran(time_machine) -> None:
    lived(time_machine, EventKind.ACK, wait=3, run=60)
    lived(time_machine, EventKind.FAIL, wait=1, run=5)

    last = statistics.time_buckets(Period.DAY)[-1]

    assert (last.waits, last.runs) == ([1.0, 3.0], [5.0, 60.0])


@pytest.mark.parametrize("end", [EventKind.CANCEL, EventKind.DROP])
def test_dropped_tasks_are_not_measured(time_machine, end) -> None:
    lived(time_machine, EventKind.ACK, run=5)
    lived(time_machine, end, run=600)
    lived(time_machine, EventKind.FAIL, run=6)

    assert statistics.time_buckets(Period.DAY)[-1].runs == [5.0, 6.0]


def test_the_wait_of_a_task_begins_when_it_is_due(time_machine) -> None:
    task = Invoice.objects.create(run_after=NOON + timedelta(seconds=50))
    time_machine.shift(57)
    apply(task, EventKind.START, worker="node-1")
    apply(task, EventKind.ACK, worker="node-1")

    assert statistics.time_buckets(Period.DAY)[-1].waits == [7.0]


def test_a_second_run_has_no_wait_that_the_row_tells(time_machine) -> None:
    task = lived(time_machine, EventKind.FAIL, wait=3)
    task.reset()
    apply(task, EventKind.START, worker="node-1")
    apply(task, EventKind.ACK, worker="node-1")

    last = statistics.time_buckets(Period.DAY)[-1]

    assert (last.waits, len(last.runs)) == ([], 1)
    assert (last.succeeded, last.failed) == (1, 1)


def test_the_wait_for_an_approval_is_no_wait_for_a_worker(time_machine) -> None:
    lived(time_machine, EventKind.ACK, wait=3)
    task = Invoice.objects.create()
    apply(task, EventKind.BLOCK)
    time_machine.shift(500)
    apply(task, EventKind.UNBLOCK)
    apply(task, EventKind.START, worker="node-1")
    time_machine.shift(7)
    apply(task, EventKind.ACK, worker="node-1")

    last = statistics.time_buckets(Period.DAY)[-1]

    assert (last.waits, last.runs) == ([3.0], [0.0, 7.0])


def test_only_a_sample_is_measured(time_machine, monkeypatch) -> None:
    monkeypatch.setattr(statistics, "SAMPLE_SIZE", 2)
    for run in (1, 2, 3):
        lived(time_machine, EventKind.ACK, run=run)

    last = statistics.time_buckets(Period.DAY)[-1]

    assert (last.succeeded, last.runs) == (3, [2.0, 3.0])


def ended(*chosen: Any) -> dict[int, tuple[int, int]]:
    """The numbers of succeeded and failed tasks, by hour."""
    numbers_by_hour = {
        bar.begin.hour: (bar.succeeded, bar.failed)
        for bar in statistics.time_buckets(Period.DAY, *chosen)
    }
    return {hour: numbers for hour, numbers in numbers_by_hour.items() if any(numbers)}


def test_old_buckets_are_counted_every_ten_minutes(time_machine) -> None:
    later = NOON + timedelta(hours=3)
    lived(time_machine, EventKind.ACK)
    time_machine.move_to(later, tick=False)
    lived(time_machine, EventKind.ACK)
    assert ended() == {12: (1, 0), 15: (1, 0)}

    lived(time_machine, EventKind.ACK)
    time_machine.move_to(NOON, tick=False)
    lived(time_machine, EventKind.FAIL)
    time_machine.move_to(later, tick=False)

    assert ended() == {12: (1, 0), 15: (2, 0)}
    time_machine.shift(601)
    assert ended() == {12: (1, 1), 15: (2, 0)}


def test_cached_counts_are_not_shown_to_users_who_may_not_see_the_rows(time_machine) -> None:
    lived(time_machine, EventKind.ACK)
    time_machine.shift(3 * 3600)
    assert ended() == {12: (1, 0)}

    assert ended(QueryScope([Invoice], {Invoice: Invoice.objects.none()})) == {}
    assert ended(QueryScope([Invoice], {Invoice: Invoice.objects.all()})) == {12: (1, 0)}


def counts_of(scope: QueryScope) -> int:
    """How many numbers and samples are read of the database."""
    with CaptureQueriesContext(connection) as seen:
        statistics.collect([Period.HOUR], scope)
    return sum(query["sql"].count(" AS slice") for query in seen)


@pytest.mark.parametrize("is_restricted", [False, True], ids=["all", "some"])
def test_buckets_that_have_ended_are_not_read_at_each_poll(time_machine, is_restricted) -> None:
    for _ in range(3):
        lived(time_machine, EventKind.ACK)
        time_machine.shift(300)
    some, others = (Invoice.objects.filter(pk__gt=number) for number in (0, -1))
    scope = QueryScope([Invoice], {Invoice: some} if is_restricted else {})
    first, second = counts_of(scope), counts_of(scope)
    other = counts_of(QueryScope([Invoice], {Invoice: others}))
    time_machine.shift(31)

    # The table's activity, two kinds of 30 buckets, and samples of three of them; then two buckets
    # in which an event may still be committed.
    assert (first, other) == (4 + 60 + 3, 4 + 60 + 3)
    assert second == 4 + 2 * 2
    assert counts_of(scope) == first


def test_each_tenant_has_figures_of_its_own(time_machine, monkeypatch) -> None:
    lived(time_machine, EventKind.ACK)
    time_machine.shift(3 * 3600)
    ended()
    monkeypatch.setattr(connection, "schema_name", "another", raising=False)

    Invoice.event_model._base_manager.all()._raw_delete("default")

    assert ended() == {}


def test_some_models_can_be_chosen(time_machine) -> None:
    lived(time_machine, EventKind.ACK)

    assert not any(
        bar.succeeded for bar in statistics.time_buckets(Period.DAY, QueryScope([UuidKeyed]))
    )


def test_every_database_is_looked_at(time_machine) -> None:
    task = Elsewhere.objects.create()
    apply(task, EventKind.START, worker="node-1")
    apply(task, EventKind.ACK, worker="node-1")

    assert statistics.time_buckets(Period.DAY)[-1].succeeded == 1


def test_the_statements_do_not_grow_with_the_rows(time_machine) -> None:
    statistics.time_buckets(Period.DAY)  # which databases have which tables is asked once
    lived(time_machine, EventKind.ACK)
    with CaptureQueriesContext(connection) as few:
        statistics.time_buckets(Period.DAY)
    for _ in range(20):
        lived(time_machine, EventKind.ACK, run=600)

    with CaptureQueriesContext(connection) as many:
        statistics.time_buckets(Period.DAY)

    assert len(many) == len(few)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.95, 4), (1.0, 4)]
)
def test_a_percentile_is_a_value_that_was_seen(share, expected) -> None:
    assert statistics.percentile([1, 2, 3, 4], share) == expected


def test_an_empty_sequence_has_no_percentile() -> None:
    assert statistics.percentile([], 0.5) is None


def test_each_slice_is_limited_by_itself() -> None:
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(5))
    queries = {
        name: rows_of(Invoice, "default").order_by(order).values_list("amount", "add_time")
        for name, order in {"first": "pk", "last": "-pk"}.items()
    }
    queries["none"] = rows_of(Invoice, "default").none().values_list("amount", "add_time")

    found = first_rows("default", queries, 2)

    assert {name: [amount for amount, _ in rows] for name, rows in found.items()} == {
        "first": [0, 1],
        "last": [4, 3],
        "none": [],
    }
    assert found["first"][0][1] == Invoice.objects.get(amount=0).add_time


def test_many_slices_take_several_statements() -> None:
    Invoice.objects.create(amount=7)
    queries = {n: rows_of(Invoice, "default").values_list("amount") for n in range(1000)}

    with CaptureQueriesContext(connections["default"]) as seen:
        found = first_rows("default", queries, 1)

    assert (len(found), len(seen)) == (1000, 3)
    assert set(map(tuple, found.values())) == {((7,),)}


def test_two_periods_are_read_in_the_statements_of_one(
    time_machine, django_assert_max_num_queries
) -> None:
    lived(time_machine, EventKind.ACK, run=2)
    statistics.time_buckets(Period.DAY)  # which databases have which tables is asked once

    with django_assert_max_num_queries(3):
        found = statistics.collect([Period.DAY, Period.HOUR])

    assert [sum(bar.done for bar in found.total(period)) for period in found.spans] == [1, 1]
    assert found.table(Period.HOUR, Invoice)[-1].runs == [2.0]
    assert not any(bar.done for bar in found.table(Period.HOUR, UuidKeyed))

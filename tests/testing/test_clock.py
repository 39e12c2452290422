"""The clock of the package, which a test sets and moves."""

import asyncio
import dis
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS

from django_simpletask3 import control, subscriptions
from django_simpletask3.conf import time_source
from django_simpletask3.db import clock
from django_simpletask3.ledger.outbox import Delivery
from django_simpletask3.ledger.tombstone import Tombstone
from django_simpletask3.limits import Limit
from django_simpletask3.retries import Exponential, Fixed
from django_simpletask3.states import EventKind, Status
from django_simpletask3.testing import TaskClock, capture_events, lose_worker, run_tasks, task_clock
from tests.limits.steps import errands
from tests.steps import apply_kinds, bring_to, create_task, kinds, row_of, status_of, stream_of
from tests.subscriptions.conftest import Follow
from tests.subscriptions.conftest import follow as follow  # noqa: PLC0414 - a fixture
from tests.testapp.models import (
    Elsewhere,
    Errand,
    FlashOffer,
    Fleeting,
    Invoice,
    Offer,
    Reminder,
    Scripted,
)

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 27, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: A function that fails twice and then succeeds.
TWO_FAILURES = [{"do": "raise", "attempt": n} for n in (1, 2)] + [{"do": "value", "value": 3}]


def is_real_time() -> bool:
    shown = clock.utc_now(DEFAULT_DB_ALIAS)
    return time_source.time_of_test() is None and abs(shown - datetime.now(UTC)) < MINUTE


# The block


def test_the_time_stands_still_and_is_moved() -> None:
    with task_clock(NOON) as frozen:
        times = [clock.now(DEFAULT_DB_ALIAS), frozen.now]
        frozen.shift(90)
        times.append(frozen.now)
        frozen.shift(timedelta(days=-1))
        times.append(frozen.now)
        frozen.move_to("2026-03-29T00:30+01:00")
        times.append(frozen.now)

    assert times == [
        NOON,
        NOON,
        NOON + timedelta(seconds=90),
        NOON + timedelta(seconds=90) - DAY,
        datetime(2026, 3, 28, 23, 30, tzinfo=UTC),
    ]
    assert is_real_time()


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        NOON.astimezone(timezone(timedelta(hours=-3))),
        "2026-03-27T12:00Z",
        "2026-03-27 13:00:00+01:00",
    ],
    ids=str,
)
def test_a_time_is_given_with_its_zone(moment: Any) -> None:
    with task_clock(moment) as frozen:
        assert frozen.now == NOON
        assert frozen.now.tzinfo is UTC
        assert repr(frozen) == "<TaskClock 2026-03-27T12:00:00+00:00>"


@pytest.mark.parametrize(
    ("moment", "error", "says"),
    [
        (NOON.replace(tzinfo=None), ValueError, "give it a time zone, as in datetime("),
        ("2026-03-27T12:00", ValueError, "naive time 2026-03-27 12:00:00: give it a time zone"),
        ("2026-03-27", ValueError, "naive time 2026-03-27 00:00:00: give it a time zone"),
        ("noon", ValueError, "the text 'noon': expected an aware datetime"),
        (date(2026, 3, 27), TypeError, "datetime.date(2026, 3, 27): expected"),
        (1774612800, TypeError, "1774612800: expected an aware datetime"),
    ],
    ids=str,
)
def test_what_is_no_time_is_refused(moment: Any, error: type[Exception], says: str) -> None:
    for give in (task_clock, TaskClock(NOON).move_to):
        with pytest.raises(error) as refused:
            give(moment)

        assert says in str(refused.value)
        assert str(refused.value).startswith(f"{give.__name__}() got")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("delta", [True, "60", None])
def test_what_is_no_length_of_time_is_refused(delta: Any) -> None:
    with pytest.raises(TypeError, match=r"^shift\(\) got .*: expected a timedelta or seconds\.$"):
        TaskClock(NOON).shift(delta)


@pytest.mark.parametrize("delta", [60, 60.0, Decimal(60), MINUTE], ids=repr)
def test_a_length_of_time_is_seconds_or_a_timedelta(delta: Any) -> None:
    frozen = TaskClock(NOON)

    frozen.shift(delta)

    assert frozen.now == NOON + MINUTE


def test_without_a_time_it_begins_now() -> None:
    before = datetime.now(UTC)

    with task_clock() as frozen:
        assert before <= frozen.now <= datetime.now(UTC)
        assert clock.now(DEFAULT_DB_ALIAS) == frozen.now


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Shanghai"])
def test_without_time_zones_a_time_is_local(settings: Any, zone: str) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, zone
    local = NOON.astimezone(time_source.default_zone()).replace(tzinfo=None)

    for given in (local, local.isoformat(), NOON):
        with task_clock(given) as frozen:
            assert frozen.now == clock.now(DEFAULT_DB_ALIAS) == local
            assert clock.utc_now(DEFAULT_DB_ALIAS) == NOON


def test_blocks_may_be_nested() -> None:
    with task_clock(NOON) as outer:
        with task_clock(NOON + DAY) as inner:
            inner.shift(60)
            outer.shift(5)
            assert clock.utc_now(DEFAULT_DB_ALIAS) == NOON + DAY + MINUTE
        assert clock.utc_now(DEFAULT_DB_ALIAS) == NOON + timedelta(seconds=5)

    assert is_real_time()


def test_blocks_may_end_in_another_order() -> None:
    first, second = task_clock(NOON), task_clock(NOON + DAY)
    first.__enter__()
    second.__enter__()

    first.__exit__()
    assert clock.utc_now(DEFAULT_DB_ALIAS) == NOON + DAY
    second.__exit__()
    assert is_real_time()


def test_a_block_may_be_entered_within_itself() -> None:
    block = task_clock(NOON)

    with block as outer:
        with block as inner:
            inner.shift(60)
            assert clock.utc_now(DEFAULT_DB_ALIAS) == NOON + MINUTE
        assert (clock.utc_now(DEFAULT_DB_ALIAS), outer.now) == (NOON, NOON)

    assert is_real_time()


def test_reading_the_clock_looks_at_it_once() -> None:
    """So that the block may end meanwhile, on every Python."""
    names = [instruction.argval for instruction in dis.get_instructions(time_source.time_of_test)]

    assert names.count("_source") == 1


def test_a_test_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), task_clock(NOON):
        raise ZeroDivisionError

    assert is_real_time()


def test_it_is_not_behind_what_a_database_wrote_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a database server is never quite that of this machine."""
    now = time.time() - clock.steady()
    ahead = clock._Reading(clock.steady(), now + 0.2, now, 0.0, 0.0, is_local=False)
    monkeypatch.setitem(clock._readings, DEFAULT_DB_ALIAS, ahead)
    written = clock.utc_now(DEFAULT_DB_ALIAS)

    with task_clock():
        assert written <= clock.utc_now(DEFAULT_DB_ALIAS) < written + MINUTE


def test_a_clock_that_is_wrong_by_far_does_not_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time() - clock.steady()
    ahead = clock._Reading(clock.steady(), now + 3600, now, 0.0, 0.0, is_local=False)
    monkeypatch.setitem(clock._readings, DEFAULT_DB_ALIAS, ahead)

    with task_clock():
        assert clock.utc_now(DEFAULT_DB_ALIAS) < datetime.now(UTC) + MINUTE


def test_the_readings_of_real_clocks_are_kept() -> None:
    clock.calibrate(DEFAULT_DB_ALIAS)
    before = dict(clock._readings)

    with task_clock(NOON):
        create_task(Invoice)
        run_tasks()

    assert clock._readings == before
    assert clock.last_jump(DEFAULT_DB_ALIAS) is None


def test_all_threads_and_coroutines_go_by_it() -> None:
    shown: list[datetime] = []

    async def in_coroutine() -> None:
        async with task_clock(NOON + DAY):
            await asyncio.to_thread(lambda: shown.append(clock.utc_now(DEFAULT_DB_ALIAS)))

    with task_clock(NOON):
        thread = threading.Thread(target=lambda: shown.append(clock.utc_now(DEFAULT_DB_ALIAS)))
        thread.start()
        thread.join()
        asyncio.run(in_coroutine())

    assert shown == [NOON, NOON + DAY]


def test_functions_and_coroutines_can_be_decorated() -> None:
    @task_clock(NOON)
    def shown() -> datetime:
        return clock.utc_now(DEFAULT_DB_ALIAS)

    @task_clock("2026-03-28T12:00Z")
    async def shown_later() -> datetime:
        return clock.utc_now(DEFAULT_DB_ALIAS)

    assert [shown(), shown()] == [NOON, NOON]
    assert asyncio.run(shown_later()) == NOON + DAY
    with pytest.raises(TypeError, match=r"call self\.enterContext\(task_clock\(\)\) in setUp\(\)"):
        task_clock(NOON)(type("Tests", (), {}))
    assert is_real_time()


@pytest.fixture
def real_time_afterwards() -> Iterator[None]:
    yield
    assert is_real_time()


def test_the_fixture_sets_the_time_until_the_test_ends(
    real_time_afterwards: None, task_clock: Callable[..., TaskClock]
) -> None:
    assert is_real_time()

    first, second = task_clock(moment=NOON), task_clock()
    second.move_to(NOON + DAY)

    assert first.now == NOON
    assert clock.utc_now(DEFAULT_DB_ALIAS) == NOON + DAY


# What is recorded


def test_what_is_recorded_has_the_time_that_is_shown() -> None:
    with task_clock(NOON) as frozen:
        task = create_task(Invoice)
        apply_kinds(task, EventKind.START)
        frozen.shift(60)
        apply_kinds(task, EventKind.ACK)
        frozen.shift(60)
        task.amount = 5
        task.save()

    row = row_of(task)
    assert [event.event_time for event in stream_of(task)] == [NOON, NOON, NOON + MINUTE]
    assert (row.add_time, row.start_time, row.done_time) == (NOON, NOON, NOON + MINUTE)
    assert row.mod_time == NOON + 2 * MINUTE
    [run] = task.runs
    assert (run.start, run.end) == (NOON, NOON + MINUTE)


def test_times_that_are_given_are_kept() -> None:
    with task_clock(NOON):
        tasks = [create_task(Invoice, add_time=NOON - DAY)]
        tasks += Invoice.objects.bulk_create([Invoice(add_time=NOON - DAY)])

    assert [row_of(task).add_time for task in tasks] == [NOON - DAY] * 2


def test_commands_of_operators_have_the_time_that_is_shown() -> None:
    with task_clock(NOON):
        control.pause(Invoice)

    command = control.pause_of(Invoice)
    assert command is not None
    assert command.time == NOON


# What becomes due


def test_a_later_task_runs_when_its_time_has_come() -> None:
    with task_clock(NOON) as frozen:
        tasks = [
            create_task(Invoice, run_after=HOUR),
            create_task(Elsewhere, run_after=NOON + HOUR),
        ]
        frozen.shift(3599.999999)
        early = run_tasks()
        frozen.shift(0.000001)
        late = run_tasks()

    assert (early.succeeded, late.left) == ([], [])
    assert set(early.left) == set(late.succeeded) == set(tasks)


def test_those_that_have_been_due_longest_run_first() -> None:
    with task_clock(NOON) as frozen:
        second = create_task(Reminder, run_after=2 * HOUR)
        first = create_task(Invoice, run_after=HOUR)
        frozen.shift(DAY)

        result = run_tasks()

    assert result.succeeded == [first, second]


def test_what_was_made_before_the_block_is_due_in_it() -> None:
    task, later = create_task(Invoice), create_task(Invoice, run_after=HOUR)

    with task_clock() as frozen:
        first = run_tasks().succeeded
        frozen.shift(HOUR)
        second = run_tasks().succeeded

    assert (first, second) == ([task], [later])


def test_moved_back_what_was_due_waits_again() -> None:
    with task_clock(NOON) as frozen:
        task = create_task(Invoice, run_after=HOUR)
        frozen.shift(DAY)
        frozen.move_to(NOON - DAY)

        assert run_tasks().left == [task]


def test_a_task_function_may_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with task_clock(NOON) as frozen:
        monkeypatch.setattr(Invoice, "do_task", lambda self: frozen.shift(2 * HOUR))
        task, later = create_task(Invoice), create_task(Reminder, run_after=HOUR)

        result = run_tasks()

    assert result.succeeded == [task, later]
    assert [event.event_time for event in stream_of(task)] == [NOON, NOON, NOON + 2 * HOUR]
    assert result.succeeded[1].add_time == NOON


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [(Fixed(60), [60, 60]), (Exponential(60, jitter=0), [60, 120])],
    ids=["fixed", "exponential"],
)
def test_retries_wait_as_long_as_their_backoff_says(
    monkeypatch: pytest.MonkeyPatch, backoff: Any, waits: list[int]
) -> None:
    monkeypatch.setattr(Scripted, "django_simpletask3_max_retries", 2)
    monkeypatch.setattr(Scripted, "django_simpletask3_retry_backoff", backoff)

    with task_clock(NOON) as frozen:
        task = create_task(Scripted, script=TWO_FAILURES)
        run_tasks(task)
        for seconds in waits:
            assert task.run_after == frozen.now + timedelta(seconds=seconds)
            frozen.shift(seconds - 1)
            assert run_tasks(task).left == [task]
            frozen.shift(1)
            run_tasks(task)

    assert kinds(task) == ["enqueue", "start", "retry", "start", "retry", "start", "ack"]


def test_retries_end_after_the_time_of_retry_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "django_simpletask3_max_retries", 100)
    monkeypatch.setattr(Scripted, "django_simpletask3_retry_backoff", Fixed(3600))
    monkeypatch.setattr(Scripted, "django_simpletask3_retry_for", 2.5 * HOUR)

    with task_clock(NOON) as frozen:
        task = create_task(Scripted, script={"do": "raise"})
        while run_tasks(task).left:
            frozen.move_to(task.run_after)

    assert (task.status, task.attempt) == (Status.FAILED, 3)
    assert task.done_time == NOON + 2 * HOUR


def test_retries_with_jitter_run_when_the_clock_is_moved_to_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Scripted, "django_simpletask3_max_retries", 2)
    monkeypatch.setattr(Scripted, "django_simpletask3_retry_backoff", Exponential(60, jitter=0.5))

    with task_clock(NOON) as frozen:
        task = create_task(Scripted, script=TWO_FAILURES)
        while run_tasks(task).left:
            assert timedelta(seconds=30) <= task.run_after - frozen.now <= 3 * MINUTE
            frozen.move_to(task.run_after)

    assert task.status == Status.SUCCESS
    assert task.attempt == 3


def test_a_snoozed_task_is_called_again() -> None:
    script = [{"do": "ask", "request": "Snooze", "after": 60, "attempt": 1}, {"do": "value"}]

    with task_clock(NOON) as frozen:
        task = create_task(Scripted, script=script)
        first = run_tasks(task)
        frozen.shift(60)
        run_tasks(task)

    assert first.left == [task]
    assert kinds(task) == ["enqueue", "start", "snooze", "start", "ack"]


def test_tasks_expire() -> None:
    with task_clock(NOON) as frozen:
        waiting = Offer.objects.enqueue(run_after=DAY, expires=HOUR)
        blocked = Offer.objects.enqueue(blocked=True, expires=HOUR)
        retried = FlashOffer.objects.enqueue()
        first = run_tasks()
        frozen.shift(HOUR)
        second = run_tasks()

    assert (first.retried, first.canceled) == ([retried], [])
    assert set(second.canceled) == {waiting, blocked, retried}


def test_a_task_of_a_lost_worker_is_recovered_when_its_lease_is_over() -> None:
    with task_clock(NOON) as frozen:
        task = bring_to(create_task(Invoice), Status.RUNNING)
        frozen.move_to(row_of(task).check_at - MINUTE)
        first = run_tasks()
        frozen.shift(2 * MINUTE)
        second = run_tasks()

    assert (first.left, second.succeeded) == ([task], [task])
    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]


def test_a_task_that_lost_its_worker_waits_for_the_end_of_its_lease() -> None:
    with task_clock(NOON) as frozen:
        task = create_task(Invoice)
        lose_worker(task)
        first = run_tasks(task).left
        frozen.move_to(task.check_at)
        run_tasks(task)

    assert first == [task]
    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]


def test_a_task_that_loses_all_its_workers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_attempts", 1)

    with task_clock(NOON) as frozen:
        task = bring_to(create_task(Invoice), Status.RUNNING)
        frozen.shift(365 * DAY)
        result = run_tasks()

    assert result.failed == [task]
    assert kinds(task)[-1] == "drop"


def test_only_leases_of_tasks_that_run_are_judged() -> None:
    with task_clock(NOON) as frozen:
        task, other = (bring_to(create_task(Invoice), Status.RUNNING) for _ in range(2))
        frozen.shift(365 * DAY)
        run_tasks(task)

    assert (task.status, status_of(other)) == (Status.SUCCESS, Status.RUNNING)


def test_outside_of_a_block_no_lease_is_judged() -> None:
    with task_clock(NOON):
        task = bring_to(create_task(Invoice), Status.RUNNING)

    assert run_tasks().left == [task]


def test_a_rate_allows_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(rate="1/h", key="{customer}"))

    with task_clock(NOON) as frozen:
        tasks = errands(3)
        started = [run_tasks(Errand).succeeded]
        frozen.shift(HOUR - MINUTE)
        started.append(run_tasks(Errand).succeeded)
        frozen.shift(MINUTE)
        started.append(run_tasks(Errand).succeeded)

    assert started == [tasks[:1], [], tasks[1:2]]


def test_a_delivery_that_failed_is_tried_again(follow: Follow) -> None:
    received: list[str] = []

    def fail_first(task: Any, event: Any) -> None:
        received.append(event.kind)
        if len(received) == 1:
            raise ConnectionError

    follow("mail", fail_first, Invoice, kinds=["ack"])

    with task_clock(NOON) as frozen:
        create_task(Invoice)
        run_tasks()
        assert len(received) == 1
        frozen.move_to(Delivery.objects.get().due_time)
        run_tasks()

    assert received == ["ack", "ack"]
    assert not Delivery.objects.exists()


def test_old_tasks_are_pruned() -> None:
    with task_clock(NOON) as frozen:
        task = create_task(Fleeting)
        run_tasks(task)
        call_command("django-simpletask3-prune")
        assert row_of(task) is not None
        frozen.shift(1)
        call_command("django-simpletask3-prune")

    assert row_of(task) is None
    assert Tombstone.objects.get().time == NOON + timedelta(seconds=1)


def test_captured_events_are_in_order() -> None:
    with task_clock(NOON) as frozen, capture_events() as events:
        create_task(Reminder)
        frozen.shift(1)
        create_task(Invoice)

    assert [type(event.task) for event in events] == [Reminder, Invoice]


@pytest.mark.parametrize("is_aware", [True, False], ids=["aware", "local"])
@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-29T00:30+00:00",  # half an hour before the hour that spring skips in Berlin
        "2026-10-25T00:30+00:00",  # within the one that autumn repeats
        "2028-02-28T23:30+00:00",
        "2026-12-31T23:30+00:00",
    ],
    ids=["spring", "autumn", "leap-day", "new-year"],
)
def test_an_hour_is_an_hour(settings: Any, moment: str, is_aware: bool) -> None:
    settings.USE_TZ, settings.TIME_ZONE = is_aware, "Europe/Berlin"

    with task_clock(moment) as frozen:
        task = create_task(Invoice, run_after=HOUR)
        begin = clock.utc_now(DEFAULT_DB_ALIAS)
        frozen.shift(HOUR - MINUTE)
        early = run_tasks(task)
        # Local times of an hour that is repeated do not tell when they are: it is the later one.
        frozen.shift(HOUR + MINUTE)
        run_tasks(task)

        assert early.left == [task]
        assert task.status == Status.SUCCESS
        assert clock.utc_now(DEFAULT_DB_ALIAS) - begin == 2 * HOUR


def test_a_delivery_is_due_when_the_time_of_its_event_has_come(follow: Follow) -> None:
    follow("mail", lambda task, event: None, Invoice)

    with task_clock(NOON) as frozen:
        task = create_task(Invoice)
        frozen.move_to(NOON - DAY)
        assert subscriptions.deliver(worker="w") == 0
        frozen.move_to(NOON)
        assert subscriptions.deliver(worker="w") == 1

    assert status_of(task) == Status.PENDING

"""Ticks are fired once, with their task, whatever nodes do."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_simpletask3.context import task_context
from django_simpletask3.exceptions import DuplicateTask
from django_simpletask3.schedules import due, firing, tables
from django_simpletask3.schedules.definition import jitter_of
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from django_simpletask3.schedules.targets import ModelTarget
from django_simpletask3.states import EventKind, Status
from django_simpletask3.testing import TaskClock
from django_simpletask3.unique import Unique
from tests.eventually import eventually
from tests.schedules.steps import (
    BEGIN,
    HOUR,
    fired,
    make_schedule,
    new_node,
    outcomes,
    ticks_of_tasks,
)
from tests.steps import apply_kinds, bring_to, other_session_waits
from tests.testapp.models import Bill, Invoice

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def test_a_tick_enqueues_one_task_with_the_fields(hand_clock: TaskClock) -> None:
    make_schedule()
    node = new_node()

    counts = [node.run()]
    hand_clock.shift(HOUR)
    counts += [node.run(), node.run(), new_node().run()]

    (task,) = Invoice.objects.all()
    event = task.events.get()
    assert counts == [0, 1, 0, 0]
    assert (task.amount, task.status) == (7, Status.PENDING)
    assert (event.actor, event.data["schedule"]) == ("schedule own", "own")
    assert event.data["tick"] == "2026-11-30T13:00:00+00:00"
    tick = ScheduleTick.objects.get()
    assert (tick.outcome, tick.model, tick.task_key) == ("fired", "testapp.Invoice", str(task.pk))


def test_a_node_knows_when_the_next_tick_is_due(hand_clock: TaskClock) -> None:
    make_schedule()
    node = new_node()
    node.run()

    assert 300 - 1 < node.needed_in() <= 300  # it reads the schedules again
    hand_clock.shift(HOUR - 10 * SECOND)
    assert 10 <= node.needed_in() <= 10.3
    hand_clock.shift(11 * SECOND)
    assert node.needed_in() == 0
    node.run()
    assert node.needed_in() > 200


def test_without_schedules_nothing_is_read_again() -> None:
    node = new_node()
    node.run()

    assert node.needed_in() == float("inf")


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("last", [(24, "fired")]),
        ("skip", [(24, "missed")]),
        ("all", [(hour, "fired") for hour in range(1, 25)]),
    ],
)
def test_a_node_that_slept_for_a_day_catches_up(
    hand_clock: TaskClock, catch_up: str, expected: list[tuple[int, str]]
) -> None:
    make_schedule(catch_up=catch_up)
    sleeping = new_node()
    sleeping.run()

    hand_clock.shift(DAY + 61 * SECOND)
    sleeping.run()
    new_node().run()

    assert outcomes() == [(BEGIN + hour * HOUR, outcome) for hour, outcome in expected]
    assert Invoice.objects.count() == len(fired())
    hand_clock.shift(HOUR - 61 * SECOND)
    sleeping.run()
    assert fired()[-1] == BEGIN + 25 * HOUR


def test_who_makes_up_for_none_may_restart_within_a_minute(hand_clock: TaskClock) -> None:
    make_schedule(catch_up="skip")

    hand_clock.shift(HOUR + 59 * SECOND)
    new_node().run()

    assert fired() == [BEGIN + HOUR]


def test_who_makes_up_for_all_makes_up_for_a_hundred(hand_clock: TaskClock) -> None:
    make_schedule(catch_up="all")

    hand_clock.shift(200 * HOUR)
    new_node().run()

    assert fired() == [BEGIN + hour * HOUR for hour in range(101, 201)]


def test_a_tick_is_not_fired_after_its_deadline(hand_clock: TaskClock) -> None:
    make_schedule(catch_up="all", deadline=2.5 * 3600)

    hand_clock.shift(5 * HOUR)
    new_node().run()

    assert outcomes() == [
        (BEGIN + 2 * HOUR, "missed"),
        *[(BEGIN + hour * HOUR, "fired") for hour in (3, 4, 5)],
    ]


def test_overlap_skips_a_tick_while_the_last_task_has_not_ended(hand_clock: TaskClock) -> None:
    make_schedule(overlap="skip")
    node = new_node()
    for _ in range(3):
        node.run()
        hand_clock.shift(HOUR)
    bring_to(Invoice.objects.get(), Status.SUCCESS)
    node.run()

    assert [outcome for _, outcome in outcomes()] == ["fired", "skipped", "fired"]
    assert Invoice.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_overlap_waits_for_a_process_that_fires_the_tick_before(
    hand_clock: TaskClock, redis_url: str
) -> None:
    if not connection.features.has_select_for_update:
        pytest.skip("one writer at a time")
    row = make_schedule(overlap="skip")
    hand_clock.shift(2 * HOUR)
    first, second = (
        firing.DueTick(row, BEGIN + hours * HOUR, ModelTarget(Invoice), {"amount": hours})
        for hours in (1, 2)
    )
    ticks: list[Any] = []

    def fire_second() -> None:
        ticks.append(firing.fire(second, "default"))
        connections.close_all()

    thread = threading.Thread(target=fire_second)
    with transaction.atomic():
        firing.fire(first, "default")
        thread.start()
        # What MariaDB says of its sessions is older than that.
        eventually(lambda: ticks or other_session_waits(), interval=0.3)
    thread.join()

    assert outcomes() == [(BEGIN + HOUR, "fired"), (BEGIN + 2 * HOUR, "skipped")]
    assert Invoice.objects.count() == 1


def test_clocks_that_differ_fire_a_tick_once(hand_clock: TaskClock) -> None:
    """A node is three seconds ahead, as on SQLite, where each goes by the clock of its machine."""
    make_schedule()
    ahead, behind = new_node(), new_node()
    for node in (ahead, behind):
        node.run()

    for _ in range(3):
        hand_clock.shift(HOUR - SECOND)
        hand_clock.shift(3 * SECOND)
        ahead.run()
        hand_clock.shift(-3 * SECOND)
        behind.run()
        hand_clock.shift(SECOND)
        behind.run()

    assert fired() == [BEGIN + hour * HOUR for hour in (1, 2, 3)]
    assert Invoice.objects.count() == 3


def test_a_tick_up_to_active_since_is_not_fired(hand_clock: TaskClock) -> None:
    make_schedule("at", active_since=BEGIN + HOUR)
    make_schedule("before", active_since=BEGIN + HOUR - SECOND)

    hand_clock.shift(HOUR)
    new_node().run()

    assert (fired("at"), fired("before")) == ([], [BEGIN + HOUR])


@pytest.mark.parametrize("change", [{"enabled": False}, {"active_since": BEGIN + HOUR}, None])
def test_what_was_changed_since_it_was_read_is_not_fired(
    hand_clock: TaskClock, change: dict[str, Any] | None
) -> None:
    make_schedule()
    node = new_node()
    node.run()

    hand_clock.shift(HOUR)
    Schedule.objects.all().delete() if change is None else Schedule.objects.update(**change)
    node.run()

    assert outcomes() == []


def test_a_schedule_that_was_retimed_goes_on_with_its_new_ticks(hand_clock: TaskClock) -> None:
    make_schedule()
    node = new_node()
    node.run()

    hand_clock.shift(HOUR / 2)
    Schedule.objects.update(cron="*/10 * * * *", active_since=hand_clock.now)
    hand_clock.shift(HOUR / 2)
    node.run()
    hand_clock.shift(HOUR / 6)
    node.run()

    assert fired() == [BEGIN + HOUR, BEGIN + HOUR * 7 / 6]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"amount": "much"}, "amount: "),
        ({"price": 1}, "ValueError: price is no column of testapp.Invoice"),
        ({"task_biz_field": "x" * 65}, "task_biz_field: "),
    ],
)
def test_fields_that_are_not_valid_are_an_outcome(
    hand_clock: TaskClock, fields: dict[str, Any], message: str
) -> None:
    make_schedule(fields=fields)
    node = new_node()
    node.run()

    hand_clock.shift(HOUR)
    node.run()
    new_node().run()

    tick = ScheduleTick.objects.get()
    assert (tick.outcome, tick.task_key) == ("failed", "")
    assert tick.message.startswith(message)
    assert not Invoice.objects.exists()


def test_a_receiver_that_raises_is_an_outcome(
    hand_clock: TaskClock, listen: Callable[..., None]
) -> None:
    from django_simpletask3.signals import event_recorded

    def refuse(**_: Any) -> None:
        raise RuntimeError("not now")

    listen(refuse, event_recorded)
    make_schedule()
    hand_clock.shift(HOUR)
    new_node().run()

    assert ScheduleTick.objects.get().message == "RuntimeError: not now"
    assert not Invoice.objects.exists()


def test_a_database_that_goes_away_leaves_the_tick_to_be_fired(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule()
    node = new_node()
    node.run()
    hand_clock.shift(HOUR)

    def fail(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(Invoice, "save", fail)
        node.run()
    assert (outcomes(), 0.5 < node.needed_in() <= 1.3) == ([], True)

    new_node().run()
    assert fired() == [BEGIN + HOUR]


def save_that_raises(raised: dict[int, Exception]) -> Any:
    """A ``save()`` that raises for some amounts."""
    save = Invoice.save

    def may_raise(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.amount in raised:
            raise raised[self.amount]
        save(self, *args, **kwargs)

    return may_raise


def missing_column() -> DatabaseError:
    """The error of this database for a column that is not there yet."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        connection.cursor().execute("INSERT INTO testapp_invoice (amount, later) VALUES (1, 2)")
    return caught.value


def test_a_column_that_is_missing_leaves_the_tick_and_holds_up_no_other(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule("broken", fields={"amount": 1})
    for number in range(5):
        make_schedule(f"s{number}")
    node = new_node()
    node.run()
    hand_clock.shift(HOUR)

    with monkeypatch.context() as broken:
        broken.setattr(Invoice, "save", save_that_raises({1: missing_column()}))
        broken.setattr(due.time, "monotonic", lambda: 1000.0)
        assert node.run() == 5
        assert (outcomes("broken"), 1.0 <= node.needed_in() <= 1.3) == ([], True)
        assert node.run() == 0

    new_node().run()
    assert fired("broken") == [BEGIN + HOUR]


def test_pauses_of_a_schedule_that_fails_grow(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule()
    steady = [1000.0]
    monkeypatch.setattr(due.time, "monotonic", lambda: steady[0])
    monkeypatch.setattr(Invoice, "save", save_that_raises({7: OperationalError("no")}))
    schedules = due.DueSchedules("default")
    schedules.load()
    hand_clock.shift(HOUR)

    pauses = []
    for _ in range(9):
        schedules.fire_due(60.0)
        pauses.append(schedules.seconds_until_next())
        steady[0] += pauses[-1]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("when", ["read", "fired"])
def test_a_row_that_cannot_be_read_holds_up_no_other(
    hand_clock: TaskClock, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    make_schedule("broken")
    make_schedule("other")
    node = new_node()
    if when == "fired":
        node.run()
    Schedule.objects.filter(key="broken").update(cron="0 25 * * *")
    hand_clock.shift(HOUR)

    for _ in range(3):
        node.run()

    assert (outcomes("broken"), fired("other")) == ([], [BEGIN + HOUR])
    assert node.needed_in() > 200
    assert caplog.text.count("schedule_unreadable schedule=broken") == 1


def test_the_task_of_the_last_tick_may_have_had_another_key(hand_clock: TaskClock) -> None:
    make_schedule(overlap="skip")
    ScheduleTick.objects.create(
        schedule="own", tick=BEGIN, outcome="fired", model="testapp.Invoice", task_key="no-number"
    )
    hand_clock.shift(HOUR)

    new_node().run()

    assert fired() == [BEGIN, BEGIN + HOUR]


def test_a_tick_that_a_clock_ahead_has_fired_silences_no_other(hand_clock: TaskClock) -> None:
    make_schedule()
    hand_clock.shift(DAY)
    new_node().run()
    hand_clock.shift(-DAY)

    node = new_node()
    for _ in range(2):
        hand_clock.shift(HOUR)
        node.run()

    assert fired() == [BEGIN + HOUR, BEGIN + 2 * HOUR, BEGIN + DAY]


def test_a_tick_is_not_fired_after_a_later_one(hand_clock: TaskClock) -> None:
    row = make_schedule()
    hand_clock.shift(2 * HOUR)
    new_node().run()

    late = firing.DueTick(row, BEGIN + HOUR, ModelTarget(Invoice), {"amount": 1})

    assert firing.fire(late, "default") is None
    assert fired() == [BEGIN + 2 * HOUR]


def test_a_taken_unique_key_skips_the_tick(hand_clock: TaskClock) -> None:
    Bill.objects.create(number="7")
    make_schedule(target="testapp.Bill", fields={"number": "7"})

    hand_clock.shift(HOUR)
    new_node().run()

    assert [outcome for _, outcome in outcomes()] == ["skipped"]
    assert Bill.objects.count() == 1


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
@pytest.mark.parametrize("on_conflict", ["refuse", "join", "replace"])
def test_a_tick_joins_or_replaces_what_has_its_key_as_the_task_says(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch, on_conflict: Any, status: Status
) -> None:
    """As ``enqueue()``: only a task that waits is replaced."""
    unique = Unique("{number}", until="finished", on_conflict=on_conflict)
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)
    first = Bill.objects.create(number="7")
    if status == Status.RUNNING:
        apply_kinds(first, EventKind.START)
    make_schedule(target="testapp.Bill", fields={"number": "7"})

    hand_clock.shift(HOUR)
    new_node().run()

    tick = ScheduleTick.objects.get()
    new = Bill.objects.exclude(pk=first.pk).first()
    is_replaced = on_conflict == "replace" and status == Status.PENDING
    assert (new is not None) == is_replaced
    assert Bill.objects.get(pk=first.pk).status == (Status.CANCELED if is_replaced else status)
    if new is not None:
        assert (tick.outcome, tick.task_key) == ("fired", str(new.pk))
        assert new.events.get(kind="enqueue").data["schedule"] == "own"
    elif on_conflict == "join":
        assert (tick.outcome, tick.task_key) == ("joined", str(first.pk))
        assert tick.model == "testapp.Bill"
    else:
        assert (tick.outcome, tick.task_key) == ("skipped", "")
        assert f"Bill {first.pk}" in tick.message or str(first.pk) in tick.message


def test_a_tick_is_skipped_while_the_task_that_the_last_one_joined_has_not_ended(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    unique = Unique("{number}", on_conflict="join")
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)
    first = Bill.objects.create(number="7")
    make_schedule(target="testapp.Bill", fields={"number": "7"}, overlap="skip")
    node = new_node()
    for _ in range(2):
        hand_clock.shift(HOUR)
        node.run()
    apply_kinds(first, EventKind.START, EventKind.ACK)
    hand_clock.shift(HOUR)
    node.run()

    assert [outcome for _, outcome in outcomes()] == ["joined", "skipped", "fired"]


def test_jitter_lets_the_task_run_later_by_the_same_time_each_tick(hand_clock: TaskClock) -> None:
    make_schedule(jitter=600.0)
    node = new_node()
    node.run()
    for _ in range(2):
        hand_clock.shift(HOUR)
        node.run()

    later = jitter_of("own", 600.0)
    runs = Invoice.objects.order_by("pk").values_list("run_after", flat=True)
    assert timedelta() < later < timedelta(seconds=600)
    assert list(runs) == [BEGIN + HOUR + later, BEGIN + 2 * HOUR + later]


def test_keys_spread_the_jitter_evenly() -> None:
    delays = [jitter_of(f"schedule {number}", 100.0).total_seconds() for number in range(1000)]

    tenths = [sum(10 * n <= delay < 10 * n + 10 for delay in delays) for n in range(10)]
    assert all(70 < count < 130 for count in tenths)


def test_a_target_that_is_gone_is_left_alone(hand_clock: TaskClock) -> None:
    make_schedule(target="testapp.Gone")

    hand_clock.shift(HOUR)
    node = new_node()
    node.run()

    assert (outcomes(), node.needed_in() > 200) == ([], True)


def test_an_expression_that_is_none_is_left_alone(hand_clock: TaskClock) -> None:
    make_schedule(cron="0 25 * * *")
    make_schedule("other")

    hand_clock.shift(HOUR)
    new_node().run()

    assert (outcomes(), fired("other")) == ([], [BEGIN + HOUR])


def test_run_now_enqueues_a_task_beside_the_ticks(hand_clock: TaskClock) -> None:
    row, target = make_schedule(overlap="skip"), ModelTarget(Invoice)
    hand_clock.shift(HOUR + SECOND)

    with task_context(actor="Ada"):
        task = firing.run_now(row, target, {"amount": 9}, hand_clock.now, "default")
    new_node().run()

    event = task.events.get()
    assert (event.actor, event.data) == ("Ada", {"schedule": "own"})
    assert [outcome for _, outcome in outcomes()] == ["fired", "run_now"]


@pytest.mark.skipif("connection.vendor != 'sqlite'")
def test_run_now_writes_before_it_reads(hand_clock: TaskClock) -> None:
    """Otherwise SQLite refuses to write if another one does, without waiting for it."""
    row = make_schedule()

    with CaptureQueriesContext(connection) as queries:
        firing.run_now(row, ModelTarget(Invoice), {"amount": 9}, BEGIN, "default")

    statements = [q["sql"] for q in queries if not q["sql"].startswith(("BEGIN", "SAVEPOINT"))]
    assert statements[0].startswith("DELETE FROM")


@pytest.mark.django_db(transaction=True)
def test_run_now_is_repeated_after_a_conflict(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    conflict, errors = OperationalError("deadlock"), list[Exception]()
    conflict.__cause__ = type("Deadlock", (Exception,), {"sqlstate": "40P01"})()
    errors.append(conflict)
    insert = firing._insert_task

    def may_raise(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return insert(*arguments)

    monkeypatch.setattr(firing, "_insert_task", may_raise)
    firing.run_now(make_schedule(), ModelTarget(Invoice), {"amount": 9}, BEGIN, "default")

    assert (Invoice.objects.count(), ScheduleTick.objects.count()) == (1, 1)


def test_run_now_raises_what_is_wrong(hand_clock: TaskClock) -> None:
    row = make_schedule()
    Bill.objects.create(number="7")

    with pytest.raises(ValidationError):
        firing.run_now(row, ModelTarget(Invoice), {"amount": "x"}, BEGIN, "default")
    with pytest.raises(DuplicateTask):
        firing.run_now(row, ModelTarget(Bill), {"number": "7"}, BEGIN, "default")
    assert outcomes() == []


@pytest.mark.django_db(transaction=True)
def test_one_of_many_processes_fires_a_tick(hand_clock: TaskClock, redis_url: str) -> None:
    make_schedule(catch_up="all")
    nodes = [new_node() for _ in range(4)]
    for node in nodes:
        node.run()
    hand_clock.shift(5 * HOUR)
    barrier, counts = threading.Barrier(4), list[int]()

    def fire(node: Any) -> None:
        barrier.wait()
        try:
            counts.append(node.run())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=fire, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    new_node().run()

    assert len(counts) == 4
    assert fired() == [BEGIN + hour * HOUR for hour in range(1, 6)]
    assert sorted(ticks_of_tasks()) == [tick.isoformat() for tick in fired()]


def test_a_thousand_schedules_that_are_not_due_cost_two_statements(hand_clock: TaskClock) -> None:
    for number in range(1000):
        make_schedule(f"s{number}")
    node = new_node()
    tables.has_schedules_table("default")

    with CaptureQueriesContext(
        connection,
    ) as first:
        node.run()
    with CaptureQueriesContext(connection) as then:
        for _ in range(50):
            hand_clock.shift(SECOND)
            node.needed_in()
            node.run()

    statements = [q["sql"] for q in first if "simpletask3_schedule" in q["sql"]]
    assert (len(statements), len(then)) == (2, 0)


def test_where_local_times_are_stored_both_ticks_of_the_repeated_hour_are_fired(
    hand_clock: TaskClock, settings: Any
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    begin = datetime(2026, 10, 24, 23, 50, tzinfo=UTC)
    hand_clock.move_to(begin)
    make_schedule(cron="*/30 2 * * *", zone="Europe/Berlin", active_since=begin, jitter=60.0)
    node = new_node()
    node.run()

    for _ in range(5):
        hand_clock.shift(HOUR / 2)
        node.run()

    assert fired() == [datetime(2026, 10, 25, 0, 0, tzinfo=UTC) + n * HOUR / 2 for n in range(4)]
    later = jitter_of("own", 60.0)
    runs = Invoice.objects.order_by("pk").values_list("run_after", flat=True)
    assert next(iter(runs)) == datetime(2026, 10, 25, 2, 0) + later

"""What the code declares is written into the rows that nodes go by."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_simpletask3.db import clock
from django_simpletask3.recovery import due_check
from django_simpletask3.recovery.schedules import DefinitionsJob, write_all
from django_simpletask3.schedules import decorator, operators, schedule
from django_simpletask3.schedules.declared import known_schedules
from django_simpletask3.schedules.decorator import ATTRIBUTE
from django_simpletask3.schedules.definition import Definition
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from django_simpletask3.testing import TaskClock
from tests.schedules.steps import (
    BEGIN,
    HOUR,
    HOURLY,
    fired,
    make_schedule,
    new_node,
    outcomes,
)
from tests.testapp.models import Elsewhere, Invoice, PaidInvoice

pytestmark = pytest.mark.django_db

T = TypeVar("T")

KEY = "testapp.Invoice"


def declare(when: str | timedelta = HOURLY, **arguments: Any) -> None:
    """The code of this process has this schedule, and no other."""
    setattr(Invoice, ATTRIBUTE, ())
    schedule(when, **{"timezone": "UTC", **arguments})(Invoice)


@pytest.fixture(autouse=True)
def code_without_schedules(hand_clock: TaskClock) -> Iterator[None]:
    yield
    for model in (Invoice, PaidInvoice):
        setattr(model, ATTRIBUTE, ())


def test_a_schedule_of_the_code_is_a_row_once() -> None:
    declare(fields={"amount": 3}, jitter=timedelta(minutes=1), deadline=90, overlap="skip")

    counts = [write_all(), write_all()]

    row = Schedule.objects.get()
    assert counts == [1, 0]
    assert (row.key, row.target, row.cron, row.zone) == (KEY, KEY, HOURLY, "UTC")
    assert (row.fields, row.jitter, row.deadline) == ({"amount": 3}, 60.0, 90.0)
    assert (row.overlap, row.catch_up, row.enabled) == ("skip", "last", True)
    assert row.active_since == BEGIN


def test_the_name_is_part_of_the_key() -> None:
    declare(name="nightly")
    schedule(timedelta(minutes=5))(PaidInvoice)

    write_all()

    rows = Schedule.objects.order_by("key")
    assert [(row.key, row.when) for row in rows] == [
        ("testapp.Invoice:nightly", HOURLY),
        ("testapp.PaidInvoice", timedelta(minutes=5)),
    ]


def test_new_fields_leave_the_ticks_alone_and_a_new_time_begins_anew(
    hand_clock: TaskClock,
) -> None:
    declare()
    write_all()
    hand_clock.shift(HOUR)

    declare(fields={"amount": 4})
    write_all()
    row = Schedule.objects.get()
    assert (row.fields, row.active_since) == ({"amount": 4}, BEGIN)

    declare("30 * * * *")
    write_all()
    assert Schedule.objects.get().active_since == BEGIN + HOUR


def test_each_change_is_seen_in_the_sum_of_the_marks(hand_clock: TaskClock) -> None:
    """The clock may be put back meanwhile, and a row may take the place of another one."""
    row = make_schedule("own")
    hand_clock.shift(-HOUR)

    seen = [sum_of_marks()]
    for change in (
        lambda: operators.disable([row.pk], "default"),
        lambda: operators.enable([row.pk], "default"),
        lambda: operators.save_own(row, "default"),
        lambda: (declare(), write_all()),
        lambda: (declare("30 * * * *"), write_all()),
        lambda: operators.delete([row], "default"),
        lambda: make_schedule("own"),
    ):
        change()
        seen.append(sum_of_marks())

    assert len(set(seen)) == len(seen) == 8


def test_each_change_is_seen_where_local_times_are_stored(
    hand_clock: TaskClock, settings: Any
) -> None:
    settings.USE_TZ = False
    row = make_schedule("own")
    before = sum_of_marks()

    operators.disable([row.pk], "default")

    assert len({before, sum_of_marks(), None}) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one transaction writes at a time")
def test_a_change_that_is_committed_after_a_later_one_is_seen(hand_clock: TaskClock) -> None:
    """An operator's transaction is open while another operator, and a node, write."""
    first, second = make_schedule("first"), make_schedule("second")
    in_thread = OtherThread()
    with transaction.atomic():
        operators.disable([first.pk], "default")
        hand_clock.shift(HOUR)
        in_thread.run(lambda: operators.disable([second.pk], "default"))
        before = in_thread.run(sum_of_marks)

    assert len({before, in_thread.run(sum_of_marks), sum_of_marks()}) == 2


def sum_of_marks() -> datetime | None:
    """What the due check of a node reads."""
    return due_check.read_due_times("default", [Invoice]).schedules_mark


class OtherThread:
    """A thread with connections of its own."""

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns there."""

        def closing() -> T:
            try:
                return work()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(closing).result()


def test_what_operators_write_is_by_the_clock_of_the_database(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()
    row = make_schedule("own")
    monkeypatch.setattr(clock, "refresh", read.append)

    operators.enable([row.pk], "default")
    operators.save_own(row, "default")

    assert read == ["default"] * 2


def test_to_save_an_own_schedule_undoes_no_decision_that_was_taken_meanwhile(
    hand_clock: TaskClock,
) -> None:
    row = make_schedule("own")
    operators.disable([row.pk], "default", "holidays")
    hand_clock.shift(HOUR)

    row.fields = {"amount": 8}
    operators.save_own(row, "default")
    row = Schedule.objects.get()
    assert (row.fields, row.enabled, row.reason) == ({"amount": 8}, False, "holidays")

    operators.enable([row.pk], "default")
    operators.save_own(row, "default")
    assert (Schedule.objects.get().enabled, Schedule.objects.get().active_since) == (
        True,
        BEGIN + HOUR,
    )


def test_what_operators_decide_is_not_overwritten() -> None:
    declare()
    write_all()
    Schedule.objects.update(enabled=False, reason="holidays")

    declare("30 * * * *")
    write_all()

    row = Schedule.objects.get()
    assert (row.cron, row.enabled, row.reason) == ("30 * * * *", False, "holidays")


def test_an_own_schedule_is_not_overwritten() -> None:
    make_schedule(KEY, cron="1 1 1 1 *")
    declare()

    assert write_all() == 0
    assert Schedule.objects.get().cron == "1 1 1 1 *"


def test_older_code_does_not_overwrite_what_newer_code_has_written() -> None:
    """A rolling deploy: nodes of both versions start, in any order."""
    declare("0 1 * * *", version=1)
    write_all()
    declare("0 2 * * *", version=2)
    write_all()
    declare("0 1 * * *", version=1)

    assert write_all() == 0
    assert Schedule.objects.get().cron == "0 2 * * *"


def test_code_of_the_same_version_overwrites() -> None:
    declare("0 2 * * *")
    write_all()
    declare("0 1 * * *")

    assert write_all() == 1
    assert Schedule.objects.get().cron == "0 1 * * *"


def test_older_code_fires_by_the_row_of_newer_code(hand_clock: TaskClock) -> None:
    declare("30 * * * *", fields={"amount": 2}, version=2)
    write_all()
    declare("0 * * * *", fields={"amount": 1}, version=1)

    hand_clock.shift(HOUR)
    new_node().run()

    assert fired(KEY) == [BEGIN + HOUR / 2]
    assert Invoice.objects.get().amount == 2


def test_older_code_leaves_columns_that_it_has_not_to_newer_code(hand_clock: TaskClock) -> None:
    declare(version=1)
    write_all()
    Schedule.objects.update(fields={"amount": 1, "currency": "EUR"}, digest="of version 2")

    hand_clock.shift(HOUR)
    new_node().run()

    assert outcomes(KEY) == []


def test_a_schedule_that_the_code_no_longer_has_is_not_fired(hand_clock: TaskClock) -> None:
    declare()
    write_all()
    setattr(Invoice, ATTRIBUTE, ())

    hand_clock.shift(HOUR)
    new_node().run()

    assert (outcomes(KEY), Schedule.objects.count()) == ([], 1)


def test_a_function_is_given_the_tick_in_the_zone_of_the_schedule(hand_clock: TaskClock) -> None:
    seen: list[datetime] = []

    def fields(tick: datetime) -> dict[str, Any]:
        seen.append(tick)
        return {"amount": tick.hour}

    declare(fields=fields, timezone="Asia/Tokyo")
    write_all()
    assert Schedule.objects.get().fields is None

    hand_clock.shift(HOUR)
    new_node().run()

    assert Invoice.objects.get().amount == (13 + 9) % 24
    assert [str(tick.tzinfo) for tick in seen] == ["Asia/Tokyo"]


@pytest.mark.parametrize("error", [KeyError("rate"), RuntimeError("rate")])
def test_a_function_that_raises_is_an_outcome(hand_clock: TaskClock, error: Exception) -> None:
    def fields(tick: datetime) -> dict[str, Any]:
        raise error

    declare(fields=fields)
    write_all()

    hand_clock.shift(HOUR)
    new_node().run()

    assert [outcome for _, outcome in outcomes(KEY)] == ["failed"]


def test_a_function_leaves_the_tick_if_its_database_is_away(hand_clock: TaskClock) -> None:
    errors = [OperationalError("gone")]

    def fields(tick: datetime) -> dict[str, Any]:
        if errors:
            raise errors.pop()
        return {"amount": 5}

    declare(fields=fields)
    write_all()
    hand_clock.shift(HOUR)

    new_node().run()
    assert outcomes(KEY) == []
    new_node().run()
    assert fired(KEY) == [BEGIN + HOUR]


def test_functions_of_other_code_are_left_to_it(hand_clock: TaskClock) -> None:
    declare(fields={"amount": 1})
    write_all()
    Schedule.objects.update(fields=None)

    hand_clock.shift(HOUR)
    new_node().run()

    assert outcomes(KEY) == []


def test_a_wrong_schedule_is_not_written() -> None:
    declare("0 25 * * *")

    assert (known_schedules(), write_all()) == ({}, 0)


@pytest.mark.parametrize(
    ("key", "wrong", "error"),
    [
        (KEY, {"fields": {"amount": object()}}, "Its fields cannot be stored: Object of type"),
        (KEY, {"when": "0 26 * * *"}, "'0 26 * * *' is no cron expression"),
        (f"{KEY}:{'x' * 100}", {"name": "x" * 100}, "Its key is longer than 100 characters."),
        ("'no task'", {}, "It is on what is no task."),
        ("testapp.PaidInvoice", {}, "There are two of that key."),
    ],
    ids=["fields", "expression", "key", "no task", "two"],
)
def test_what_cannot_be_stored_stops_no_other_schedule_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    wrong: dict[str, Any],
    error: str,
) -> None:
    """A node may have been started with ``--skip-checks``."""
    schedule(HOURLY)(PaidInvoice)
    if key.startswith("testapp.P"):
        schedule(HOURLY)(PaidInvoice)
    elif wrong:
        declare(**{"when": HOURLY, **wrong})
    no_task = [] if wrong or key.startswith("testapp.P") else [("no task", Definition(HOURLY))]
    monkeypatch.setattr(decorator, "others", no_task)

    counts = [write_all(), write_all()]

    assert counts == [1, 0]
    assert list(Schedule.objects.values_list("key", flat=True)) == ["testapp.PaidInvoice"]
    [line] = [line for line in caplog.messages if "schedule_left_out" in line]
    assert f"schedule={key} error={error}" in line.replace('"', "")


def test_the_job_reports_a_change_and_needs_no_other_run() -> None:
    calls = list[bool]()
    declare()
    job = DefinitionsJob(lambda: calls.append(True))

    assert (job.run(), job.run(), calls) == (1, 0, [True])
    assert job.needed_in() == float("inf")


@pytest.mark.django_db(databases="__all__")
def test_a_schedule_is_in_the_database_of_its_tasks(hand_clock: TaskClock) -> None:
    schedule(HOURLY, timezone="UTC")(Elsewhere)
    try:
        write_all()
        hand_clock.shift(HOUR)
        new_node().run()
    finally:
        setattr(Elsewhere, ATTRIBUTE, ())

    (task,) = Elsewhere.objects.using("other")
    (tick,) = ScheduleTick.objects.using("other")
    assert (tick.outcome, tick.task_key) == ("fired", str(task.pk))
    assert not Schedule.objects.using("default").exists()


def test_what_the_code_declares_is_found_once() -> None:
    declare()
    first = known_schedules()

    assert known_schedules() is first
    declare("30 * * * *")
    assert known_schedules()[KEY].definition.when == "30 * * * *"
    setattr(Invoice, ATTRIBUTE, ())
    assert KEY not in known_schedules()

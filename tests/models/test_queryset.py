"""The words in which tasks are looked for, and bulk work."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connections, models, transaction
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.exceptions import ProjectedColumn
from django_simpletask3.ledger.projection import PROJECTED, broken_links, fold
from django_simpletask3.models.queryset import TaskQuerySet, rows_of
from django_simpletask3.states import FINAL, EventKind, Status
from tests.eventually import eventually
from tests.steps import (
    TABLES,
    apply_kinds,
    bring_to,
    create_task,
    kinds,
    label_of,
    make_task,
    message_count,
    projection_of,
    row_of,
    stream_of,
)
from tests.testapp.models import Elsewhere, ForeignInvoice, Invoice, PaidInvoice, Reminder, Secret

pytestmark = pytest.mark.django_db

WORDS = {
    "pending": {Status.PENDING},
    "running": {Status.RUNNING},
    "succeeded": {Status.SUCCESS},
    "failed": {Status.FAILED},
    "canceled": {Status.CANCELED},
    "finished": FINAL,
}
WITH_WORDS = [model for model in TABLES if isinstance(model._default_manager.all(), TaskQuerySet)]
COUNTED = ("INSERT", "SELECT", "UPDATE", "WITH")
#: Rows are inserted with their events.
IN_ONE_STATEMENT = connections["default"].vendor == "postgresql"
MACHINES_OWN = [*PROJECTED, "worker", "check_at"]


def value_of(column: str) -> Any:
    field = Invoice._meta.get_field(column)
    return field.get_default() if field.has_default() else None


def statements(made: CaptureQueriesContext) -> dict[str, int]:
    verbs = [query["sql"].split()[0] for query in made]
    return {verb: verbs.count(verb) for verb in verbs if verb in COUNTED}


def inserts_of(model: type[models.Model], number: int) -> int:
    """How many statements the database needs for so many rows."""
    fields = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    most = connections["default"].ops.bulk_batch_size(fields, [None] * number)
    return math.ceil(number / most)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_finds_the_tasks_in_its_states(word: str) -> None:
    tasks = {status: bring_to(create_task(Invoice), status) for status in Status}

    found = getattr(Invoice.objects, word)()

    assert {task.pk for task in found} == {tasks[status].pk for status in WORDS[word]}


def test_filters_by_status_can_be_chained() -> None:
    create_task(Invoice, amount=1)
    task = create_task(Invoice, amount=2)

    assert Invoice.objects.filter(amount=2).pending().due().get() == task
    assert not Invoice.objects.pending().running().exists()


def test_due_are_those_that_could_run_now() -> None:
    now, past = create_task(Invoice), create_task(Invoice, run_after=clock.after("default", -5))
    create_task(Invoice, run_after=clock.after("default", 50))
    bring_to(create_task(Invoice), Status.RUNNING)

    assert set(Invoice.objects.due()) == {now, past}


def test_lost_are_those_that_recovery_has_to_examine() -> None:
    past = clock.after("default", -5)
    lease_over = apply_kinds(create_task(Invoice), EventKind.START, values={"check_at": past})
    message_in_doubt = create_task(Invoice)
    rows_of(Invoice, "default").filter(pk=message_in_doubt.pk).update_managed(check_at=past)
    apply_kinds(
        create_task(Invoice), EventKind.START, values={"check_at": clock.after("default", 60)}
    )
    create_task(Invoice)
    bring_to(create_task(Invoice), Status.SUCCESS)

    assert set(Invoice.objects.lost()) == {lease_over, message_in_doubt}


def test_a_row_that_came_past_save_is_looked_after_at_once() -> None:
    (task,) = models.QuerySet(Invoice).bulk_create([Invoice()])

    # By the clock of the database, which is known to some hundredths of a second only.
    assert eventually(lambda: list(Invoice.objects.lost()), timeout=1.0) == [task]


def test_every_row_of_a_table_is_found_past_the_managers() -> None:
    task, paid = create_task(Secret, hidden=True), create_task(PaidInvoice)

    assert list(rows_of(Secret, "default")) == [task]
    assert [row.pk for row in rows_of(PaidInvoice, "default")] == [paid.pk]
    assert rows_of(PaidInvoice, "default").model is Invoice


@pytest.mark.parametrize("column", MACHINES_OWN)
def test_no_update_writes_what_the_machine_writes(column: str, pending_task: Any) -> None:
    before = projection_of(pending_task)

    with pytest.raises(ProjectedColumn, match=column):
        Invoice.objects.update(amount=7, **{column: value_of(column)})

    assert (projection_of(pending_task), row_of(pending_task).amount) == (before, 3)


@pytest.mark.parametrize("column", MACHINES_OWN)
def test_no_bulk_update_writes_what_the_machine_writes(column: str, pending_task: Any) -> None:
    pending_task.amount = 7

    with pytest.raises(ProjectedColumn, match=column), transaction.atomic():
        Invoice.objects.bulk_update([pending_task], ["amount", column])

    assert row_of(pending_task).amount == 3


def test_own_columns_and_bookkeeping_are_updated_as_ever(pending_task: Any) -> None:
    later = clock.after("default", 50)
    pending_task.task_biz_field = "b"

    updated = Invoice.objects.filter(pk=pending_task.pk).update(amount=8, run_after=later)
    Invoice.objects.bulk_update([pending_task], ["task_biz_field"])

    row = row_of(pending_task)
    assert (updated, row.amount, row.run_after, row.task_biz_field) == (1, 8, later, "b")


POSTPONED = {
    "update": lambda task: Invoice.objects.update(
        amount=8, run_after=models.F("run_after") + timedelta(hours=1)
    ),
    "bulk_update": lambda task: Invoice.objects.bulk_update([task], ["amount", "run_after"]),
}


@pytest.mark.parametrize("way", POSTPONED)
def test_a_waiting_task_is_looked_for_when_what_was_computed_is_due(way: str) -> None:
    task = create_task(Invoice, run_after=clock.after("default", 60))
    unplanned, running = create_task(Invoice), bring_to(create_task(Invoice), Status.RUNNING)
    lease, later = row_of(running).check_at, task.run_after + timedelta(hours=1)
    task.run_after = later

    POSTPONED[way](task)

    assert row_of(task).run_after == row_of(task).check_at == later
    assert row_of(unplanned).check_at is not None
    assert row_of(running).check_at == lease


@pytest.mark.parametrize("zone", ["Z", "+00:00"])
def test_a_waiting_task_is_looked_for_at_a_time_that_is_given_as_text(
    zone: str, pending_task: Any
) -> None:
    Invoice.objects.filter(pk=pending_task.pk).update(run_after=f"2050-01-01T00:00:00{zone}")

    row = row_of(pending_task)
    assert row.run_after == row.check_at == datetime(2050, 1, 1, tzinfo=UTC)


def test_a_task_that_need_not_wait_any_more_is_looked_for_soon() -> None:
    tasks = [create_task(Invoice, run_after=clock.after("default", 60)) for _ in range(2)]
    tasks[0].run_after = None

    Invoice.objects.bulk_update(tasks, ["run_after"])

    assert list(Invoice.objects.lost()) == [tasks[0]]


@pytest.mark.parametrize("run_after", [None, models.F("result_time")], ids=["none", "expression"])
def test_a_task_that_need_not_wait_is_looked_for_by_the_clock_of_the_database(
    run_after: Any, monkeypatch: Any
) -> None:
    slow = clock.now("default") - timedelta(hours=1)
    monkeypatch.setattr(clock, "now", lambda using: slow)
    task = create_task(Invoice, run_after=clock.after("default", 60))

    Invoice.objects.update(run_after=run_after)

    assert list(Invoice.objects.lost()) == [task]


def test_enqueue_saves_and_queues(commit: Any) -> None:
    with commit():
        task = Invoice.objects.enqueue(amount=4)

    assert (row_of(task).amount, kinds(task), message_count(task)) == (4, ["enqueue"], 1)


@pytest.mark.parametrize("model", WITH_WORDS, ids=label_of)
def test_a_bulk_is_inserted_with_its_streams_and_pushed(model: type[Any], commit: Any) -> None:
    using = "other" if model is Elsewhere else "default"

    with commit(using):
        tasks = model._default_manager.bulk_create([make_task(model) for _ in range(5)])

    assert [kinds(task) for task in tasks] == [["enqueue"]] * 5
    assert [fold(stream_of(task)) for task in tasks] == [projection_of(task) for task in tasks]
    assert all(broken_links(stream_of(task)) == [] for task in tasks)
    assert message_count(model) == 5


def test_a_thousand_rows_and_events_are_written_in_as_few_statements_as_can_be(
    commit: Any,
) -> None:
    with commit(), CaptureQueriesContext(connections["default"]) as made:
        Invoice.objects.bulk_create([Invoice() for _ in range(1000)])

    inserts = inserts_of(Invoice, 1000) + inserts_of(Invoice.event_model, 1000)
    assert statements(made) == ({"WITH": 1} if IN_ONE_STATEMENT else {"INSERT": inserts})
    assert message_count(Invoice) == Invoice.objects.count() == 1000


def test_a_bulk_is_written_in_batches_of_the_size_asked_for() -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        Invoice.objects.bulk_enqueue([{"amount": n} for n in range(20)], batch_size=5)

    assert statements(made) == ({"WITH": 4} if IN_ONE_STATEMENT else {"INSERT": 4 + 4})


@pytest.mark.parametrize("batch_size", [0, -1])
@pytest.mark.parametrize("number", [1, 2])
def test_a_batch_has_a_size(number: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Invoice.objects.bulk_enqueue([{}] * number, batch_size=batch_size)

    assert not Invoice.objects.exists()


def test_a_bulk_takes_dicts_and_instances_and_any_iterable() -> None:
    tasks = Invoice.objects.bulk_enqueue(
        task for task in ({"amount": 1}, Invoice(amount=2), {"amount": 3})
    )

    assert [row_of(task).amount for task in tasks] == [1, 2, 3]


def test_an_empty_bulk_is_nothing() -> None:
    assert Invoice.objects.bulk_enqueue([]) == []


@pytest.mark.parametrize("option", ["ignore_conflicts", "update_conflicts"])
def test_a_bulk_that_might_not_be_born_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        Invoice.objects.bulk_create([Invoice()], **{option: True})

    assert not Invoice.objects.exists()


def test_a_bulk_of_a_child_table_is_refused_as_django_refuses_it() -> None:
    with pytest.raises(ValueError, match="multi-table"):
        ForeignInvoice.objects.bulk_create([ForeignInvoice()])


def test_a_bulk_that_fails_leaves_nothing_behind(commit: Any) -> None:
    taken = create_task(Invoice)

    with commit(), pytest.raises(IntegrityError), transaction.atomic():
        Invoice.objects.bulk_create([Invoice(), Invoice(pk=taken.pk)])

    assert list(Invoice.objects.all()) == [taken]
    assert message_count(Invoice) == 0


def test_a_bulk_in_another_database_stays_there(commit: Any) -> None:
    with commit("other"):
        tasks = Reminder.objects.using("other").bulk_enqueue([{"text": "a"}, {"text": "b"}])

    assert Reminder.objects.using("other").count() == 2
    assert not Reminder.objects.exists()
    assert [kinds(task) for task in tasks] == [["enqueue"]] * 2


def test_many_are_reached_by_one_deletion_with_one_event_each() -> None:
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(3)])

    Invoice.objects.filter(pk__lt=10**9).delete()

    assert [kinds(task, task.pk) for task in tasks] == [["enqueue", "delete"]] * 3


def test_a_task_waits_for_its_message_as_long_as_the_settings_say(settings: Any) -> None:
    settings.SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL = 33
    expected = clock.after("default", 33)

    (task,) = Invoice.objects.bulk_enqueue([{}])

    assert abs(row_of(task).check_at - expected) < timedelta(seconds=10)

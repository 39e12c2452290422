"""The events and tasks that a block of code records."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, transaction

from django_simpletask3.testing import capture_enqueued, capture_events, run_tasks
from tests.steps import create_task, stream_of
from tests.testapp.models import Elsewhere, Invoice, PaidInvoice, Reminder

pytestmark = pytest.mark.django_db


def pairs(events: Sequence[Any]) -> list[tuple[Any, str]]:
    return [(event.task_id, str(event.kind)) for event in events]


def test_the_events_of_a_block_are_captured_in_order() -> None:
    before = create_task(Reminder)

    with capture_events() as events:
        task = create_task(Invoice)
        assert pairs(events) == [(task.pk, "enqueue")]
        run_tasks()
    create_task(Invoice)

    first, second = (before, task) if before.add_time < task.add_time else (task, before)
    assert [(type(event.task), str(event.kind)) for event in events] == [
        (Invoice, "enqueue"),
        *((type(one), kind) for one in (first, second) for kind in ("start", "ack")),
    ]
    assert events[0] == stream_of(task)[0]


def test_what_is_rolled_back_is_not_captured() -> None:
    with capture_events() as events:
        with transaction.atomic():
            create_task(Invoice)
            transaction.set_rollback(True)

    assert list(events) == []


def test_the_events_of_a_model_or_a_task_are_captured() -> None:
    task, other = create_task(Invoice), create_task(Invoice)

    with capture_events(PaidInvoice) as of_model, capture_events(task) as of_task:
        paid = create_task(PaidInvoice)
        task.cancel()
        other.cancel()

    assert pairs(of_model) == [(paid.pk, "enqueue")]
    assert pairs(of_task) == [(task.pk, "cancel")]


def test_the_enqueued_tasks_are_captured_as_they_are_now() -> None:
    create_task(Invoice)

    with capture_enqueued() as tasks:
        created = [create_task(Invoice), create_task(PaidInvoice), create_task(Elsewhere)]
        deleted = create_task(Reminder)
        deleted.delete()
        created[0].cancel()

    assert tasks == created
    assert [type(task) for task in tasks] == [Invoice, PaidInvoice, Elsewhere]
    assert tasks[0].status == Invoice.CANCELED
    assert (len(tasks), tasks[-1:]) == (3, [created[2]])


def break_transaction() -> None:
    group = Group.objects.create(name="a")
    with pytest.raises(IntegrityError):
        Group(pk=group.pk, name="b").save(force_insert=True)


def test_a_block_may_end_with_a_broken_transaction() -> None:
    with transaction.atomic():
        with capture_events() as events:
            create_task(Invoice)
            break_transaction()
        transaction.set_rollback(True)

    with pytest.raises(DatabaseError):
        list(events)


def test_the_fixture_ends_with_a_broken_transaction(captured_events: Sequence[Any]) -> None:
    create_task(Invoice)
    assert len(captured_events) == 1

    break_transaction()

"""Tasks that wait for something else than time or a worker."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from django_simpletask3.audit.check import audit
from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.ledger.task_row import has_expiry
from django_simpletask3.models.queryset import TaskQuerySet
from django_simpletask3.states import EventKind, Status
from tests.steps import (
    TASK_MODELS,
    apply_kinds,
    bring_to,
    has_message,
    kinds,
    label_of,
    make_task,
    message_count,
    row_of,
    status_of,
    stream_of,
)
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

REASON = "waits for the approval of finance"


def enqueue_blocked(model: Any = Invoice, **columns: Any) -> Any:
    task = make_task(model, **columns)
    values = {"id": task.pk} if task.pk is not None else {}
    return TaskQuerySet(model).enqueue(blocked=REASON, **values, **columns)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_a_task_that_is_enqueued_blocked_is_never_pushed(model: Any, redis_url: str) -> None:
    task = enqueue_blocked(model)

    row = row_of(task)
    expires_at = row.expires_at if has_expiry(model) else None
    assert (row.status, row.sequence, row.check_at) == (Status.BLOCKED, 2, expires_at)
    assert kinds(task) == ["enqueue", "block"]
    assert stream_of(task)[-1].reason == REASON
    assert message_count(task) == 0
    assert list(audit(model, task._state.db)) == []


def test_a_task_that_is_unblocked_is_queued(redis_url: str) -> None:
    task = enqueue_blocked()

    task.unblock("approved by Ada")

    assert status_of(task) is Status.PENDING
    assert has_message(task)
    assert [(e.kind, e.reason) for e in stream_of(task)][1:] == [
        ("block", REASON),
        ("unblock", "approved by Ada"),
    ]


def test_a_task_that_is_unblocked_before_it_is_due_waits_until_then(redis_url: str) -> None:
    later = timezone.now() + timedelta(hours=1)
    tasks = [Invoice.objects.enqueue(blocked=True, run_after=later) for _ in range(2)]

    tasks[0].unblock()
    Invoice.objects.unblock()

    assert [row_of(task).check_at for task in tasks] == [later, later]
    assert message_count(tasks[0]) == 0


def test_a_waiting_task_that_is_blocked_loses_its_message(redis_url: str) -> None:
    task = Invoice.objects.create()

    task.block(REASON)

    assert not has_message(task)
    assert row_of(task).check_at is None


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.PENDING])
def test_only_a_waiting_task_is_blocked(status: Status, redis_url: str) -> None:
    task = bring_to(Invoice.objects.create(), status)

    with pytest.raises(IllegalTransition):
        task.block()


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.BLOCKED])
def test_only_a_blocked_task_is_unblocked(status: Status, redis_url: str) -> None:
    task = bring_to(Invoice.objects.create(), status)

    with pytest.raises(IllegalTransition):
        task.unblock()


def test_a_blocked_task_is_neither_due_nor_lost_nor_started(redis_url: str) -> None:
    task = enqueue_blocked()

    assert not Invoice.objects.due().exists()
    assert not Invoice.objects.lost().exists()
    with pytest.raises(IllegalTransition):
        apply_kinds(task, EventKind.START, worker=WORKER)
    task.save()
    assert not has_message(task)


def test_a_blocked_task_can_be_canceled_or_reset(redis_url: str) -> None:
    canceled, reset = enqueue_blocked(), enqueue_blocked()

    canceled.cancel("refused")
    reset.reset("run it anyway")

    assert status_of(canceled) is Status.CANCELED
    assert has_message(reset)


def test_many_tasks_are_enqueued_blocked_and_unblocked_together(redis_url: str) -> None:
    tasks = Invoice.objects.bulk_enqueue([{"amount": n} for n in range(5)], blocked=True)
    other = Invoice.objects.create()

    assert {task.status for task in tasks} == {Status.BLOCKED}
    assert message_count(other) == 1
    assert Invoice.objects.filter(amount__lt=3).unblock("approved") == 4 - 1
    assert Invoice.objects.blocked().count() == 2
    assert message_count(other) == 4


def test_a_copy_of_a_task_that_was_enqueued_blocked_is_queued(redis_url: str) -> None:
    task = enqueue_blocked()

    task.pk = None
    task.save()

    assert kinds(task) == ["enqueue"]


def test_a_task_that_cannot_be_saved_stays_as_it_was(redis_url: str) -> None:
    first = enqueue_blocked()

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        Invoice.objects.enqueue(blocked=True, id=first.pk)

    assert kinds(first) == ["enqueue", "block"]
    assert connections["default"].get_autocommit()


def test_an_event_says_when_the_task_may_run(redis_url: str) -> None:
    later = timezone.now() + timedelta(hours=1)
    task = Invoice.objects.create(run_after=later)

    task.reset(run_after=later + timedelta(hours=1))

    values = [event.data.get("run_after") for event in stream_of(task)]
    assert values == [later.isoformat(), (later + timedelta(hours=1)).isoformat()]

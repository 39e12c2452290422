"""What ``reset()`` does to each thing that belongs to a task: the table of the reference."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_simpletask3.admin.task_details.progress import latest_progress
from django_simpletask3.exceptions import DuplicateTask, StaleTask
from django_simpletask3.models.losses import losses_of
from django_simpletask3.running.recorded_checkpoints import read_checkpoints
from django_simpletask3.running.tries import read_tries
from django_simpletask3.states import EventKind, Status
from tests.steps import apply_kinds, bring_to, has_message, kinds, row_of, status_of, stream_of
from tests.testapp.models import Bill, Invoice, Offer

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture
def task(redis_url: str) -> Invoice:
    """A task that was snoozed, tried again, lost and started again."""
    return apply_kinds(
        Invoice.objects.create(amount=7, priority=3),
        *(EventKind.START, EventKind.SNOOZE),
        *(EventKind.START, EventKind.RETRY),
        *(EventKind.START, EventKind.RECOVER),
        EventKind.START,
    )


def test_retries_and_snoozes_are_counted_anew(task: Any) -> None:
    before = read_tries(Invoice, "default", task.pk)

    task.reset()

    after = read_tries(Invoice, "default", task.pk)
    assert (before.retries, before.snoozes) == (1, 1)
    assert (after.retries, after.snoozes) == (0, 0)


def test_lost_claims_are_counted_anew(task: Any) -> None:
    before = losses_of(Invoice, "default", [task.pk])[task.pk].claims

    task.reset()

    assert (before, losses_of(Invoice, "default", [task.pk])[task.pk].claims) == (1, 0)


def test_attempts_are_counted_on(task: Any) -> None:
    task.reset()

    assert row_of(task).attempt == 4
    assert apply_kinds(task, EventKind.START).attempt == 5


def test_the_result_of_a_running_attempt_is_refused(task: Any) -> None:
    late = row_of(task)
    task.reset()

    with pytest.raises(StaleTask):
        apply_kinds(late, EventKind.ACK, result="late")

    assert kinds(task)[-2:] == ["reset", "reject"]
    assert row_of(task).result_data is None


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED])
def test_result_and_error_are_kept_in_the_event(status: Status, redis_url: str) -> None:
    error = {"type": "OSError", "message": "no"}
    details = {"result": "OK"} if status is Status.SUCCESS else {"error_data": error}
    task = bring_to(Invoice.objects.create(), status, **details)

    task.reset()

    row, erased = row_of(task), stream_of(task)[-1].data["erased"]
    assert (row.result_data, row.error_data, row.done_time) == (None, None, None)
    assert (erased["result_data"], erased["error_data"]) == (
        ("OK", None) if status is Status.SUCCESS else (None, error)
    )


@pytest.mark.parametrize("restart", [False, True])
def test_checkpoints_and_keys_are_kept_unless_it_begins_again(task: Any, restart: bool) -> None:
    data = {"name": "step", "phase": "done", "value": 1}
    apply_kinds(task, EventKind.CHECKPOINT, data=data)
    key = task.idempotency_key("step")

    task.reset(restart=restart)

    assert read_checkpoints(task, "default").values == ({} if restart else {"step": 1})
    assert (task.idempotency_key("step") == key) is not restart


@pytest.mark.parametrize("run_after", [None, 60])
def test_the_time_is_that_of_the_reset(run_after: Any, redis_url: str) -> None:
    task = Invoice.objects.create(run_after=timezone.now() + timedelta(days=1))

    task.reset(run_after=run_after)

    due = row_of(task).run_after
    assert due is None if run_after is None else due < timezone.now() + timedelta(hours=1)
    assert ("run_after" in (stream_of(task)[-1].data or {})) == (run_after is not None)


@pytest.mark.parametrize("expires", [None, 60])
def test_the_expiry_is_that_of_the_reset(expires: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=timedelta(days=1))

    task.reset(expires=expires)

    expires_at = row_of(task).expires_at
    assert expires_at is None if expires is None else expires_at < task.add_time + HOUR
    assert ("expires_at" in stream_of(task)[-1].data) == (expires is not None)


def test_the_unique_key_is_that_of_the_columns_now(redis_url: str) -> None:
    task, other = Bill.objects.enqueue(number="7"), Bill.objects.enqueue(number="8")
    before = task.unique_key
    Bill.objects.filter(pk=task.pk).update(number="9")

    task.reset()
    Bill.objects.filter(pk=other.pk).update(number="9")
    with pytest.raises(DuplicateTask):
        other.reset()

    assert row_of(task).unique_key not in (before, None)
    assert stream_of(task)[-1].data["unique"] == str(row_of(task).unique_key)
    assert kinds(other) == ["enqueue"]


def test_progress_is_gone(task: Any) -> None:
    task.note("page 3 of 10", progress=0.3)
    before = latest_progress(stream_of(task), row_of(task).attempt)

    task.reset()
    apply_kinds(task, EventKind.START)

    assert before is not None
    assert latest_progress(stream_of(task), row_of(task).attempt) is None


def test_a_blocked_task_runs_anyway(redis_url: str) -> None:
    task = Invoice.objects.enqueue(blocked=True)

    task.reset()

    assert status_of(task) is Status.PENDING
    assert has_message(task)


def test_own_columns_and_priority_stay(task: Any) -> None:
    task.reset()

    assert (row_of(task).amount, row_of(task).priority) == (7, 3)

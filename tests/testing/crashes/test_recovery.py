"""A task whose worker or message is lost, its recovery, and its late result."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from django_simpletask3 import control
from django_simpletask3.context import acting_as
from django_simpletask3.db import clock
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.queue import get_queue
from django_simpletask3.recovery import service
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import Status
from django_simpletask3.testing import (
    assertTaskEvents,
    crash_before,
    late_result,
    lose_message,
    lose_worker,
    recover,
    run_tasks,
    task_clock,
)
from tests.steps import create_task, kinds, status_of, stream_of
from tests.testapp.models import Elsewhere, Everywhere, ForeignInvoice, Invoice, PaidInvoice

pytestmark = pytest.mark.django_db


def test_a_lost_worker_leaves_a_running_task_that_no_other_starts(function: Any) -> None:
    called = []
    function(lambda self: called.append(self.attempt))
    task = Invoice.objects.create()

    lose_worker(task)
    lose_worker(task)  # it is lost
    result = run_tasks()

    assert (task.status, result.left, called) == (Status.RUNNING, [task], [])
    assertTaskEvents(task, "enqueue", "start")


def test_an_assertion_of_a_receiver_is_raised(listen: Any) -> None:
    def refuse(event: Any, **_: Any) -> None:
        assert event.kind != "start", "not today"

    listen(refuse, event_recorded)

    with pytest.raises(AssertionError, match=r"^not today"):
        lose_worker(Invoice.objects.create())


@pytest.mark.parametrize(
    "is_committed", [False, pytest.param(True, marks=pytest.mark.django_db(transaction=True))]
)
def test_a_recovered_task_runs_again(is_committed: bool) -> None:
    task = Invoice.objects.create()
    lose_worker(task)
    with acting_as("the test"):
        number = recover(task)

    assert (number, task.status) == (1, Status.PENDING)
    assert run_tasks().succeeded == [task]
    assertTaskEvents(task, "enqueue", "start", "recover", "start", "ack")
    event = task.events.get(kind="recover")
    assert (event.reason, event.actor) == ("lease_expired", "recovery")


def test_a_task_that_is_lost_again_is_due_later(task_clock: Any) -> None:
    test_clock = task_clock()
    task = Invoice.objects.create()
    lose_worker(task)
    recover(task)
    lose_worker(task)
    recover(task)

    assert task.run_after > test_clock.now
    assert run_tasks().left == [task]


def test_no_clock_is_moved_and_one_that_stands_still_does_not_matter() -> None:
    task = Invoice.objects.create()

    with task_clock("2026-03-27T12:00+00:00") as clock:
        for _ in range(2):
            lose_worker(task)
            recover(task)
        assert clock.now == datetime(2026, 3, 27, 12, tzinfo=UTC)
        assert run_tasks().left == [task]
        clock.shift(60)
        assert run_tasks().succeeded == [task]


def test_a_task_that_is_lost_too_often_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_attempts", 1)
    task = Invoice.objects.create()
    lose_worker(task)

    assert recover() == 1

    assert task.status == Status.RUNNING  # it was not given
    assert status_of(task) is Status.FAILED
    assertTaskEvents(task, "enqueue", "start", "drop")


def test_only_the_given_tasks_and_models_are_recovered() -> None:
    first, second = Invoice.objects.create(), Invoice.objects.create()
    proxy, child = PaidInvoice.objects.create(), ForeignInvoice.objects.create()
    elsewhere, everywhere = create_task(Elsewhere), Everywhere(script={"do": "value"})
    everywhere.save(using="other")
    for task in (first, second, proxy, child, elsewhere, everywhere):
        lose_worker(task)

    assert recover(first) == 1
    assert status_of(second) is Status.RUNNING
    assert recover(PaidInvoice) == 1
    assert status_of(second) is Status.RUNNING
    assert recover(Invoice) == 2
    assert recover() == 2
    assert recover() == 0


def test_what_is_not_lost_is_left_alone() -> None:
    waiting, blocked = Invoice.objects.create(), Invoice.objects.enqueue(blocked="for ever")
    finished = Invoice.objects.create()
    run_tasks(finished)

    assert recover(waiting, blocked, finished) == 0

    assert kinds(waiting) == ["enqueue"]


# What makes a task start at no time
CANNOT_START = {
    "later": lambda task: Invoice.objects.filter(pk=task.pk).update(
        run_after=timezone.now() + timedelta(hours=1)
    ),
    "paused": lambda task: control.pause(Invoice),
}


@pytest.mark.parametrize("why", CANNOT_START)
def test_a_task_that_does_not_start_has_no_worker_to_lose(why: str) -> None:
    task = Invoice.objects.create()
    CANNOT_START[why](task)

    with pytest.raises(AssertionError, match=rf"Invoice {task.pk} has not started\. \w+"):
        lose_worker(task)


def test_a_task_that_no_worker_can_have_is_refused() -> None:
    finished = Invoice.objects.create()
    run_tasks(finished)

    with pytest.raises(ValueError, match="is SUCCESS: no worker has it"):
        lose_worker(finished)
    with pytest.raises(ValueError, match="save it first"):
        lose_worker(Invoice())


def test_a_late_result_is_refused() -> None:
    task = Invoice.objects.create()
    with crash_before("ack"):
        run_tasks(task)
    recover(task)
    run_tasks(task)
    [before] = Invoice.objects.filter(pk=task.pk).values()

    late_result(task, "late")

    assert (task.status, task.result_data) == (Status.SUCCESS, "OK")
    event = stream_of(task)[-1]
    assert (event.kind, event.actor) == ("reject", "")
    assert event.data["refused"] == "ack"
    assert (event.data["attempt"], event.data["current_attempt"]) == (1, 2)
    [after] = Invoice.objects.filter(pk=task.pk).values()
    assert {n for n, value in after.items() if before[n] != value} == {"sequence", "digest"}


@pytest.mark.parametrize("way", ["recover", "cancel", "reset"])
def test_it_is_the_result_of_the_attempt_that_was_taken_away(way: str) -> None:
    task = Invoice.objects.create()
    lose_worker(task)
    recover(task) if way == "recover" else getattr(task, way)("by the test")
    status = task.status

    late_result(task)

    assert task.status == status
    assertTaskEvents(task, "enqueue", "start", way, "reject")


@pytest.mark.parametrize("is_running", [False, True])
def test_a_result_that_would_be_accepted_is_not_late(is_running: bool) -> None:
    task = Invoice.objects.create()
    (lose_worker if is_running else run_tasks)(task)

    with pytest.raises(ValueError, match=r"^No attempt of testapp\."):
        late_result(task)


def test_a_task_that_was_deleted_gets_no_late_result() -> None:
    task = Invoice.objects.create()
    lose_worker(task)
    recover(task)
    Invoice.objects.get(pk=task.pk).delete()

    with pytest.raises(ValueError, match=rf"Invoice {task.pk} was deleted"):
        late_result(task)


@pytest.mark.parametrize("function", [lose_worker, lose_message, late_result])
def test_one_task_is_wanted_and_no_model(function: Any) -> None:
    with pytest.raises(TypeError, match=r"^Invoice is no task\.$"):
        function(Invoice)


def test_a_task_without_a_message_waits_for_recovery() -> None:
    lost, other = Invoice.objects.create(), Invoice.objects.create()

    lose_message(lost)

    assert run_tasks().left == [lost]
    assert kinds(lost) == ["enqueue"]
    assert recover() == 1
    assert run_tasks().succeeded == [lost]
    assertTaskEvents(lost, "enqueue", "recover", "start", "ack")
    assertTaskEvents(other, "enqueue", "start", "ack")


def test_a_reset_pushes_another_message() -> None:
    task = Invoice.objects.create()
    lose_message(task)

    task.reset("by the test")

    assert run_tasks().succeeded == [task]


def test_a_lost_message_is_recorded_as_a_node_does() -> None:
    first, second = Invoice.objects.create(), Invoice.objects.create()
    lose_message(first)
    recover(first)
    get_queue().db.flushdb()
    rows_of(Invoice, "default").filter(pk=second.pk).update_managed(check_at=clock.now("default"))
    service.push_overdue()

    assert [fields_of(event) for event in stream_of(first)] == [
        fields_of(event) for event in stream_of(second)
    ]


def fields_of(event: Any) -> dict[str, Any]:
    left_out = {"id", "task_id", "event_time", "digest"}
    values = {f.attname: getattr(event, f.attname) for f in event._meta.concrete_fields}
    return {name: value for name, value in values.items() if name not in left_out}


@pytest.mark.parametrize("way", ["later", "running"])
def test_a_task_that_has_no_message_cannot_lose_it(way: str) -> None:
    task = Invoice.objects.create()
    CANNOT_START["later"](task) if way == "later" else lose_worker(task)

    with pytest.raises(ValueError, match="has no message: it is not PENDING, or not due"):
        lose_message(task)


def test_the_end_of_a_test_undoes_the_loss() -> None:
    task = Invoice.objects.create()

    with transaction.atomic():
        lose_message(task)
        assert run_tasks().left == [task]
        transaction.set_rollback(True)

    assert run_tasks().succeeded == [task]

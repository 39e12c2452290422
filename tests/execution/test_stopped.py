"""A task function that has to stop, and the outcome of one that does."""

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from django_simpletask3.exceptions import StopReason, TaskStopped
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.ledger.stop_signal import announce_stop, request_stop
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.steps import has_message, kinds, message_count, row_of, status_of
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER, start_waiting

Body = Callable[[Any], Any]
TIME_LIMIT_EXCEEDED = "django_simpletask3.exceptions.TimeLimitExceeded"


@pytest.fixture
def claim(
    transactional_db: None, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Save a new task with this function and these class attributes, and start it."""

    def claimed(body: Body, **attributes: Any) -> Run:
        monkeypatch.setattr(Invoice, "do_task", body)
        for name, value in attributes.items():
            monkeypatch.setattr(Invoice, f"django_simpletask3_{name}", value)
        Invoice.objects.create(amount=1)
        return started()

    return claimed


@pytest.fixture
def run_with(claim: Callable[..., Run]) -> Callable[..., Run]:
    """As ``claim``; the function is run, and its outcome recorded."""
    return lambda body, **attributes: ended(claim(body, **attributes))


def started() -> Run:
    """The run of the task that waits."""
    [run] = start_waiting(ModelPipeline(Invoice, 1, WORKER))
    return run


def ended(run: Run) -> Run:
    perform(run)
    assert finish([run]) == []
    return run


def other(task: Any) -> Any:
    """``task``, as another process has loaded it."""
    return type(task).objects.get(pk=task.pk)


def stop(task: Any, reason: StopReason) -> None:
    """As a worker does, once it has noticed."""
    task.amount = 7
    request_stop(task, reason)
    task.check_stop()


def cancel_and_stop(task: Any) -> None:
    other(task).cancel()
    stop(task, StopReason.CANCELED)


def running(model: Any) -> int:
    return get_queue().running(model.get_event_channel())


def test_a_function_that_may_go_on_is_not_stopped(run_with: Any) -> None:
    def body(task: Any) -> list[Any]:
        task.check_stop()
        return [task.stop_reason, task.should_stop, task.is_worker_stopping]

    run = run_with(body)

    assert run.task.result_data == [None, False, False]


def test_a_function_that_stops_after_a_cancel_leaves_no_further_event(run_with: Any) -> None:
    run = run_with(cancel_and_stop)

    row = row_of(run.task)
    assert kinds(run.task) == ["enqueue", "start", "cancel"]
    assert (row.status, row.amount, row.error_data) == (Status.CANCELED, 1, None)
    assert (running(Invoice), message_count(Invoice)) == (0, 0)


def test_a_function_that_stops_after_a_reset_leaves_the_new_attempt_alone(run_with: Any) -> None:
    def body(task: Any) -> str:
        if task.attempt > 1:
            return "again"
        other(task).reset()
        stop(task, StopReason.SUPERSEDED)
        return "too late"

    first = run_with(body)
    ended(started())

    row = row_of(first.task)
    assert kinds(first.task) == ["enqueue", "start", "reset", "start", "ack"]
    assert (row.status, row.result_data, row.amount) == (Status.SUCCESS, "again", 1)


def test_a_function_that_stops_for_its_time_limit_has_failed(run_with: Any) -> None:
    run = run_with(lambda task: stop(task, StopReason.TIME_LIMIT), time_limit=60)

    row = row_of(run.task)
    assert kinds(run.task) == ["enqueue", "start", "fail"]
    assert row.error_data["type"] == TIME_LIMIT_EXCEEDED
    assert "django_simpletask3_time_limit of testapp.Invoice is 60 s" in row.error_data["message"]
    assert "check_stop" in row.error_data["traceback"]
    assert row.amount == 7


def test_a_function_that_stops_for_its_time_limit_is_tried_again(run_with: Any) -> None:
    run = run_with(lambda task: stop(task, StopReason.TIME_LIMIT), time_limit=60, max_retries=1)

    assert kinds(run.task) == ["enqueue", "start", "retry"]


def test_a_function_that_stops_with_its_worker_is_given_back(run_with: Any) -> None:
    run = run_with(lambda task: stop(task, StopReason.WORKER_STOPPING))

    row = row_of(run.task)
    event = run.task.events.last()
    assert kinds(run.task) == ["enqueue", "start", "release"]
    assert (event.reason, event.worker) == ("worker_stopping", WORKER)
    assert (row.status, row.amount) == (Status.PENDING, 7)
    assert (running(Invoice), message_count(Invoice), has_message(run.task)) == (0, 1, True)


def test_a_release_consumes_no_retry(run_with: Any) -> None:
    def body(task: Any) -> None:
        if task.attempt == 1:
            stop(task, StopReason.WORKER_STOPPING)
        raise ValueError("for real")

    run = run_with(body, max_retries=1)
    ended(started())

    assert kinds(run.task) == ["enqueue", "start", "release", "start", "retry"]


def test_a_task_without_a_message_is_given_back_with_one(claim: Any) -> None:
    run = claim(lambda task: stop(task, StopReason.WORKER_STOPPING))
    get_queue().ack_many([run.message], False)
    run.message = None  # it was found in the table

    ended(run)

    assert (status_of(run.task), message_count(Invoice)) == (Status.PENDING, 1)


def test_a_function_may_stop_itself_once_its_worker_is_stopping(claim: Any) -> None:
    def body(task: Any) -> None:
        assert (task.is_worker_stopping, task.should_stop, task.stop_reason) == (True, False, None)
        task.check_stop()
        raise TaskStopped

    run = claim(body)
    run.is_worker_stopping = lambda: True
    ended(run)

    assert kinds(run.task) == ["enqueue", "start", "release"]
    assert run.task.is_worker_stopping is False


def test_a_function_that_stops_for_no_reason_has_failed(run_with: Any) -> None:
    def body(task: Any) -> None:
        raise TaskStopped

    run = run_with(body)

    assert kinds(run.task) == ["enqueue", "start", "fail"]
    assert row_of(run.task).error_data["message"] == "The task function was stopped."


def test_a_cancel_that_was_rolled_back_costs_no_task(run_with: Any) -> None:
    def body(task: Any) -> None:
        with transaction.atomic():
            task.cancel()
            task.check_stop()

    run = run_with(body)

    event = run.task.events.last()
    assert kinds(run.task) == ["enqueue", "start", "release"]
    assert event.reason == "not_canceled"
    assert (status_of(run.task), message_count(Invoice)) == (Status.PENDING, 1)


def test_a_task_that_is_canceled_while_its_worker_stops_is_not_given_back(run_with: Any) -> None:
    def body(task: Any) -> None:
        other(task).cancel()
        stop(task, StopReason.WORKER_STOPPING)

    run = run_with(body)

    assert kinds(run.task) == ["enqueue", "start", "cancel", "reject"]
    assert (status_of(run.task), message_count(Invoice)) == (Status.CANCELED, 0)


def test_a_bare_except_that_swallows_the_stop_has_a_late_result(run_with: Any) -> None:
    def body(task: Any) -> str:
        try:
            cancel_and_stop(task)
        except BaseException:
            return "swallowed"
        return "never"

    run = run_with(body)

    assert kinds(run.task) == ["enqueue", "start", "cancel", "reject"]


def test_except_exception_does_not_swallow_the_stop(run_with: Any) -> None:
    def body(task: Any) -> None:
        try:
            cancel_and_stop(task)
        except Exception:
            pytest.fail("TaskStopped is no Exception")

    run = run_with(body)

    assert kinds(run.task) == ["enqueue", "start", "cancel"]


async def _awaited(task: Any) -> None:
    await asyncio.sleep(0)
    await sync_to_async(cancel_and_stop)(task)


async def _in_a_group(task: Any) -> None:
    async def part() -> None:
        await sync_to_async(cancel_and_stop)(task)

    async with asyncio.TaskGroup() as group:
        group.create_task(part())
        group.create_task(asyncio.sleep(60))


@pytest.mark.parametrize("body", [_awaited, _in_a_group])
def test_a_coroutine_can_be_stopped(run_with: Any, body: Body) -> None:
    run = run_with(body)

    assert kinds(run.task) == ["enqueue", "start", "cancel"]


@pytest.mark.parametrize("reason", [StopReason.CANCELED, StopReason.SUPERSEDED])
def test_a_task_that_another_event_has_ended_is_not_begun(claim: Any, reason: StopReason) -> None:
    begun: list[Any] = []
    run = claim(begun.append)
    other(run.task).cancel()
    request_stop(run.task, reason)

    ended(run)

    assert begun == []
    assert kinds(run.task) == ["enqueue", "start", "cancel"]
    assert running(Invoice) == 0


def test_a_new_attempt_with_the_same_instance_is_not_stopped_for_the_last_one(
    run_with: Any,
) -> None:
    run = run_with(cancel_and_stop)
    run.task.reset()

    again = Run(run.task, WORKER)

    assert (again.task.stop_reason, again.task.should_stop) == (None, False)


def test_a_refused_note_says_why(run_with: Any) -> None:
    found: list[Any] = []

    def body(task: Any) -> None:
        for end in ("reset", "cancel"):
            getattr(other(task), end)()
            with pytest.raises(Exception, match="moved first"):
                task.note("late")
            found.append(task.stop_reason)

    run_with(body)

    assert found == ["superseded", "canceled"]


@pytest.mark.parametrize("later", StopReason)
@pytest.mark.parametrize("earlier", StopReason)
def test_a_task_that_has_ended_is_not_stopped_for_another_reason(
    earlier: StopReason, later: StopReason
) -> None:
    order = ["worker_stopping", "time_limit", "superseded", "canceled"]
    task = Invoice()

    announce_stop(task, earlier)
    request_stop(task, later)

    is_replaced = order.index(later) >= order.index(earlier) or later == "superseded"
    assert task.stop_reason == (later if is_replaced else earlier)


def test_a_stop_that_is_announced_is_no_refusal() -> None:
    task = Invoice()

    announce_stop(task, StopReason.WORKER_STOPPING)

    assert not task.should_stop
    with pytest.raises(TaskStopped) as caught:
        task.check_stop()
    assert caught.value.reason == "worker_stopping"


def test_the_flag_alone_stops_too() -> None:
    task = Invoice()
    task.stop_flag().set()

    with pytest.raises(TaskStopped):
        task.check_stop()


@pytest.mark.parametrize("reason", [None, *StopReason])
def test_the_exception_reaches_another_process_whole(reason: StopReason | None) -> None:
    raised = TaskStopped(reason)

    arrived = pickle.loads(pickle.dumps(raised))

    assert (arrived.reason, str(arrived)) == (reason, str(raised))

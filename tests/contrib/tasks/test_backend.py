"""The contract of the backend, with Django's own framework and with its backport."""

import sys
import time
import traceback
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.module_loading import import_string

from django_simpletask3.contrib.tasks import SimpleTaskBackend, results
from django_simpletask3.contrib.tasks.models import FunctionTask, model_of
from django_simpletask3.contrib.tasks.registry import find
from django_simpletask3.contrib.tasks.results import result_of
from django_simpletask3.exceptions import (
    FunctionMissing,
    TaskCanceled,
    TaskExpired,
    WorkerLost,
)
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.ledger.encoding import TAG
from django_simpletask3.models.registry import task_models
from django_simpletask3.recovery.lost_workers import recover_or_drop
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import writer
from tests.contrib.tasks import steps
from tests.functions import elsewhere, tasks
from tests.functions.framework import (
    TaskResultStatus,
    default_task_backend,
    exceptions,
    signals,
    task_backends,
)
from tests.steps import has_message, kinds
from tests.testapp.models import Ledger

pytestmark = pytest.mark.django_db(transaction=True)

READY, RUNNING = TaskResultStatus.READY, TaskResultStatus.RUNNING
FAILED, SUCCESSFUL = TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL


def paths(result: Any) -> list[str]:
    return [error.exception_class_path for error in result.errors]


def test_the_backend_can_do_everything() -> None:
    backend = default_task_backend

    assert isinstance(task_backends["default"], SimpleTaskBackend)
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority


def test_a_function_is_enqueued_and_run() -> None:
    result = tasks.add.enqueue(1, second=2)
    assert (result.status, result.is_finished, result.attempts) == (READY, False, 0)
    assert (result.args, result.kwargs) == ([1], {"second": 2})
    assert result.task == tasks.add
    assert result.started_at is result.finished_at is result.last_attempted_at is None
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value

    steps.run_once(result, "w1")

    assert (result.status, result.return_value, result.is_finished) == (SUCCESSFUL, 3, True)
    assert result.worker_ids == ["w1"]
    assert result.errors == []
    assert result.enqueued_at <= result.started_at == result.last_attempted_at
    assert result.started_at <= result.finished_at


def test_the_result_is_the_same_wherever_it_is_read() -> None:
    result = tasks.send.using(run_after=timezone.now()).enqueue("ada")

    assert tasks.send.get_result(result.id) == result
    assert default_task_backend.get_result(result.id) == result


def test_coroutines_enqueue_and_are_run() -> None:
    async def enqueue() -> Any:
        result = await tasks.add_async.aenqueue(1, 2)
        return await tasks.add_async.aget_result(result.id)

    result = steps.run(async_to_sync(enqueue)())

    assert result.return_value == 3
    async_to_sync(result.arefresh)()
    assert result.status == SUCCESSFUL


def test_a_call_needs_as_many_statements_as_a_model_task() -> None:
    def count(work: Any) -> int:
        with CaptureQueriesContext(connection) as queries:
            work()
        return len(queries)

    Ledger.objects.create()
    # A savepoint where row and event are no single statement, for the unique key.
    more = 0 if connection.vendor == "postgresql" else 2
    for way in (lambda: tasks.add.enqueue(1), lambda: tasks.send.enqueue("ada")):
        assert count(way) <= count(lambda: Ledger().save()) + more


def test_the_columns_of_a_call_are_not_those_of_its_function() -> None:
    result = steps.run(tasks.rewrite.enqueue())

    assert result.status == SUCCESSFUL
    assert tasks.rewrite.get_result(result.id).args == []


def test_the_row_is_in_the_transaction_of_the_caller() -> None:
    with transaction.atomic():
        kept = tasks.add.enqueue(1)
        assert not has_message(steps.row_of(kept))
    with transaction.atomic():
        lost = tasks.add.enqueue(2)
        transaction.set_rollback(True)

    assert has_message(steps.row_of(kept))
    with pytest.raises(exceptions.TaskResultDoesNotExist):
        tasks.add.get_result(lost.id)


@pytest.mark.parametrize(
    "result_id",
    [
        "123",
        "",
        None,
        5,
        b"\xff",
        str(uuid.UUID(int=1)),
        "{00000000-0000-0000-0000-000000000001}",
        "\0",
    ],
)
def test_an_id_of_no_result_does_not_exist(result_id: Any) -> None:
    tasks.add.enqueue(1)

    with pytest.raises(exceptions.TaskResultDoesNotExist):
        default_task_backend.get_result(result_id)


def test_the_id_tells_nothing_of_the_row() -> None:
    first, second = tasks.add.enqueue(1), tasks.add.enqueue(1)

    for result in (first, second):
        assert uuid.UUID(result.id).version == 4
    with pytest.raises(exceptions.TaskResultDoesNotExist):
        default_task_backend.get_result(str(steps.row_of(first).pk))


def test_an_id_is_known_in_one_spelling_only() -> None:
    result_id = tasks.add.enqueue(1).id

    for other in (result_id.replace("-", ""), f"{{{result_id}}}", f"urn:uuid:{result_id}"):
        with pytest.raises(exceptions.TaskResultDoesNotExist):
            default_task_backend.get_result(other)


def test_the_result_of_another_function_does_not_match() -> None:
    result = tasks.add.enqueue(1)

    with pytest.raises(exceptions.TaskResultMismatch):
        tasks.send.get_result(result.id)


@pytest.mark.parametrize(
    ("task", "path", "text"),
    [
        (tasks.fail, "builtins.ValueError", "ValueError: no paper\n"),
        (tasks.leave, "builtins.SystemExit", "SystemExit: gone\n"),
    ],
    ids=["exception", "exit"],
)
def test_what_a_function_raises_is_an_error_of_the_result(task: Any, path: str, text: str) -> None:
    result = steps.run(task.enqueue())

    assert result.status == FAILED
    assert paths(result) == [path]
    assert result.errors[0].exception_class is import_string(path)
    assert result.errors[0].traceback.startswith("Traceback")
    assert result.errors[0].traceback.endswith(text)
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_each_attempt_adds_its_worker_and_its_error() -> None:
    result = steps.run_once(tasks.fail.enqueue(), "w1")
    steps.row_of(result).reset("again")
    steps.run_once(result, "w2")
    lost = steps.row_of(result)
    lost.reset("once more")
    run = steps.start_row(lost, "w3")
    recover_or_drop([run.task], "worker_died")

    result.refresh()

    assert result.status == READY
    assert result.worker_ids == ["w1", "w2", "w3"]
    assert result.attempts == 3
    assert paths(result) == ["builtins.ValueError"] * 2 + [
        "django_simpletask3.exceptions.WorkerLost"
    ]
    assert all(e.traceback.endswith("ValueError: no paper\n") for e in result.errors[:2])
    assert result.errors[0].traceback.startswith("Traceback")
    assert result.errors[2].exception_class is WorkerLost
    assert result.started_at < result.last_attempted_at


def test_the_end_of_a_task_without_error_of_its_function_has_a_class() -> None:
    canceled, expired = tasks.add.enqueue(1), tasks.add.enqueue(1)
    steps.row_of(canceled).cancel("not needed")
    past = timezone.now() - timedelta(hours=1)
    FunctionTask.objects.filter(result_id=expired.id).update_managed(expires_at=past)
    writer.apply(steps.row_of(expired), EventKind.EXPIRE)

    for result, kind, text in (
        (canceled, TaskCanceled, "not needed"),
        (expired, TaskExpired, "expired"),
    ):
        result.refresh()
        assert result.status == FAILED
        [error] = result.errors
        assert error.exception_class is kind
        assert text in error.traceback
        assert result.finished_at is not None


def test_a_dropped_task_has_lost_its_worker(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION = "drop"
    result = tasks.add.enqueue(1)
    recover_or_drop([steps.start_row(steps.row_of(result)).task], "worker_died")

    result.refresh()

    assert result.status == FAILED
    assert [error.exception_class for error in result.errors] == [WorkerLost]


def test_a_function_that_cancels_itself_has_failed() -> None:
    result = steps.run(tasks.cancel_itself.enqueue())

    assert result.status == FAILED
    assert paths(result) == ["django_simpletask3.exceptions.TaskCanceled"]
    assert "enough" in result.errors[0].traceback


def test_a_blocked_task_is_ready() -> None:
    result = tasks.add.enqueue(1)
    steps.row_of(result).block("waits")

    result.refresh()

    assert result.status == READY


VALUES = [
    None,
    True,
    0.5,
    float("inf"),
    2**80,
    "\0 ü \udc80",
    [1, [2, {"a": None}]],
    {"a": {"b": []}},
    {TAG: "datetime", "value": "2030-01-01"},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_values_of_json_pass_both_ways(value: Any) -> None:
    result = steps.run(tasks.echo.enqueue(value))

    assert result.return_value == value
    assert type(result.return_value) is type(value)
    assert default_task_backend.get_result(result.id).args == [value]


@pytest.mark.parametrize(
    ("value", "normal"), [((1, 2), [1, 2]), (b"abc", "abc")], ids=["tuple", "bytes"]
)
def test_values_are_normalized_as_by_the_framework(value: Any, normal: Any) -> None:
    result = steps.run(tasks.echo.enqueue(value))

    assert result.return_value == normal


@pytest.mark.parametrize("value", [datetime(2030, 1, 1), object(), {1, 2}, b"\xff"])
def test_arguments_that_json_does_not_hold_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="Unsupported"):
        tasks.echo.enqueue(value)

    assert not FunctionTask.objects.exists()


@pytest.mark.parametrize("task", [tasks.return_object, tasks.return_object_async])
def test_a_result_that_json_does_not_hold_is_a_failure(task: Any) -> None:
    result = steps.run(task.enqueue())

    assert result.status == FAILED
    assert result.errors[0].exception_class is TypeError
    assert "Unsupported type" in result.errors[0].traceback


def test_what_is_too_large_is_refused_or_a_failure(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_RESULT_SIZE_LIMIT = 1000

    with pytest.raises(ValueError, match="more than 1000 bytes"):
        tasks.echo.enqueue("x" * 1001)
    result = steps.run(tasks.return_text.enqueue(1001))

    assert result.status == FAILED
    assert "has returned, but" in result.errors[0].traceback
    assert steps.run(tasks.return_text.enqueue(900)).return_value == "x" * 900


def test_a_database_that_is_away_before_the_call_is_no_failure_of_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raise_error(*_: Any) -> None:
        error = OperationalError("away")
        error.sqlite_errorname = "SQLITE_BUSY"  # type: ignore[attr-defined]
        raise error

    result = steps.run_once(tasks.fail.enqueue(), "w1")
    row = steps.row_of(result)
    row.reset("again")
    waits = list[float]()
    with monkeypatch.context() as patched:
        patched.setattr(results, "read_history", raise_error)
        patched.setattr(time, "sleep", waits.append)
        attempt = steps.start_row(row, "w2")
        perform(attempt)
        assert not finish([attempt])
    # It goes to the head of the queue, and would be tried again at once, all the time.
    assert waits == [1.0]

    row.refresh_from_db()
    assert (row.status, row.events.last().reason) == (Status.PENDING, "database_away")
    steps.run_once(result, "w3")
    assert (result.status, result.worker_ids) == (FAILED, ["w1", "w2", "w3"])
    assert paths(result) == ["builtins.ValueError"] * 2


def test_a_function_with_context_is_given_its_result() -> None:
    result = tasks.attempt_of.enqueue()

    assert steps.run(result).return_value == [1, result.id, "RUNNING"]
    steps.row_of(result).reset()
    assert steps.run(result).return_value == [2, result.id, "RUNNING"]


def test_the_row_is_the_current_task() -> None:
    result = tasks.tell_row.enqueue()

    pk = steps.row_of(result).pk
    assert steps.run(result).return_value == [pk, "tests.functions.tasks.tell_row"]


def test_a_forged_row_imports_nothing_and_fails() -> None:
    for path in ("os.system", "tests.functions.unnamed.f", "tests.functions.tasks.os.getpid", ""):
        row = FunctionTask.objects.create(task_path=path, args=["true"])
        run = steps.start_row(row)
        steps.perform(run)
        steps.finish([run])

        row.refresh_from_db()

        assert row.status == Status.FAILED
        assert row.error_data["type"] == "django_simpletask3.exceptions.FunctionMissing"
        assert "OPTIONS" in row.error_data["message"]
        with pytest.raises(exceptions.TaskResultDoesNotExist, match="no function"):
            default_task_backend.get_result(str(row.result_id))
    assert "tests.functions.unnamed" not in sys.modules


def test_the_modules_of_the_settings_and_of_the_apps_are_imported() -> None:
    assert find("tests.functions.elsewhere.from_elsewhere") is elsewhere.from_elsewhere
    assert find("tests.functions.tasks.add").func is tasks.add.func
    with pytest.raises(FunctionMissing):
        find("tests.functions.tasks.framework")


def test_a_naive_time_is_refused_while_time_zones_are_used() -> None:
    with pytest.raises(exceptions.TaskException, match="aware"):
        tasks.add.using(run_after=datetime(2030, 1, 1))


def test_a_naive_time_is_taken_without_time_zones() -> None:
    later = datetime(2030, 1, 1, 12)
    with override_settings(USE_TZ=False):
        result = tasks.add.using(run_after=later).enqueue(1)

        assert tasks.add.get_result(result.id).task.run_after == later


def test_a_task_waits_until_it_may_run() -> None:
    later = timezone.now() + timedelta(hours=1)
    row = steps.row_of(tasks.add.using(run_after=later, priority=-3).enqueue(1))

    assert (row.run_after, row.priority) == (later, -3)
    assert not has_message(row)


def test_a_named_queue_has_a_channel_of_its_own() -> None:
    mail, slow = model_of("mail"), model_of("Slow Things")
    in_mail = tasks.send.enqueue("ada")
    in_slow = tasks.add.using(queue_name="Slow Things").enqueue(1)

    assert len({m.get_event_channel() for m in (FunctionTask, mail, slow)}) == 3
    assert {FunctionTask, mail, slow} <= set(task_models())
    assert type(steps.row_of(in_mail)) is mail
    assert steps.run_messages(FunctionTask) == steps.run_messages(slow) - 1 == 0
    assert steps.run_messages(mail) == 1
    in_mail.refresh()
    in_slow.refresh()
    assert (in_mail.return_value, in_slow.return_value) == ("sent to ada", 1)
    assert kinds(steps.row_of(in_mail)) == ["enqueue", "start", "ack"]
    assert (mail.get_worker_number(), FunctionTask.get_worker_number()) == (1, 5)


def test_queues_that_are_not_named_share_the_default_channel() -> None:
    result = tasks.add.using(queue_name="reports", backend="any queue").enqueue(1)

    assert type(steps.row_of(result)) is FunctionTask
    assert steps.run_messages(FunctionTask) == 1
    result.refresh()
    assert (result.status, result.task.queue_name) == (SUCCESSFUL, "reports")
    assert result.backend == "any queue"


def test_a_queue_that_the_backend_does_not_name_is_refused() -> None:
    with pytest.raises(exceptions.TaskException, match="not valid"):
        tasks.add.using(queue_name="reports")
    with pytest.raises(exceptions.TaskException, match="longer than 100"):
        tasks.add.using(queue_name="x" * 101, backend="any queue")


def test_a_row_of_a_queue_that_is_no_longer_named_goes_on() -> None:
    result = tasks.add.using(queue_name="reports", backend="any queue").enqueue(1)

    with override_settings(TASKS={"default": {"BACKEND": SimpleTaskBackend.__module__}}):
        read = result_of(steps.row_of(result))

    assert (read.task.queue_name, read.backend) == ("reports", "any queue")
    assert steps.run(result).status == SUCCESSFUL


@pytest.fixture
def sent() -> Any:
    """The signals of the framework that were sent: name, status, sender and attempts."""
    found: list[Any] = []
    names = ("task_enqueued", "task_started", "task_finished")

    def receiver_of(name: str) -> Any:
        def receive(sender: Any, task_result: Any, **_: Any) -> None:
            found.append((name, str(task_result.status), sender, task_result.attempts))
            raise RuntimeError("a receiver")

        return receive

    receivers = {name: receiver_of(name) for name in names}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, weak=False)
    yield found
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def test_signals_are_sent_after_the_commit_whatever_receivers_raise(sent: Any) -> None:
    with transaction.atomic():
        result = tasks.send.enqueue("ada")
        assert sent == []
    steps.run(result)

    assert sent == [
        ("task_enqueued", "READY", SimpleTaskBackend, 0),
        ("task_started", "RUNNING", SimpleTaskBackend, 1),
        ("task_finished", "SUCCESSFUL", SimpleTaskBackend, 1),
    ]
    assert result.status == SUCCESSFUL


def test_a_failure_and_a_cancel_are_finished(sent: Any) -> None:
    steps.run(tasks.fail.enqueue())
    steps.row_of(tasks.add.enqueue(1)).cancel()

    assert [(name, status) for name, status, *_ in sent if name == "task_finished"] == [
        ("task_finished", "FAILED")
    ] * 2


def traceback_of(caplog: pytest.LogCaptureFixture, result: Any) -> Any:
    """The error in the line that the framework logs of the end of a failed task."""
    [record] = [
        record
        for record in caplog.records
        if record.name == signals.logger.name and record.levelname == "ERROR"
    ]
    assert f"Task id={result.id} path={result.task.module_path} state=FAILED" in record.message
    assert record.exc_info is not None
    return record.exc_info[1]


@pytest.mark.parametrize(
    ("function", "kind", "frame"),
    [
        (tasks.fail, ValueError, "fail"),
        (tasks.leave, SystemExit, "leave"),
        (tasks.return_object_async, TypeError, "normalize_json"),
    ],
    ids=["error", "exit", "coroutine"],
)
def test_the_framework_logs_the_traceback_of_a_failure(
    caplog: pytest.LogCaptureFixture, function: Any, kind: type[BaseException], frame: str
) -> None:
    """As of its own backends: tools that report errors read it."""
    result = steps.run(function.enqueue())

    error = traceback_of(caplog, result)
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert type(error) is kind
    assert frames[-1] == frame
    assert "_send_while_handling" not in frames


@pytest.mark.parametrize("is_lost", [False, True], ids=["canceled", "lost"])
def test_the_framework_logs_the_error_of_what_no_function_has_raised(
    caplog: pytest.LogCaptureFixture, settings: Any, is_lost: bool
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION = "drop"
    result = tasks.add.enqueue(1)
    row = steps.row_of(result)
    if is_lost:
        recover_or_drop([steps.start_row(row).task], "worker_died")
    else:
        row.cancel("not needed")

    error = traceback_of(caplog, result)
    assert type(error) is (WorkerLost if is_lost else TaskCanceled)
    assert ("w1" if is_lost else "not needed") in str(error)


def test_a_task_of_the_backport_is_run_too() -> None:
    backport = pytest.importorskip("django_tasks")
    own = backport.base.Task(func=tasks.add.func)
    result = task_backends["default"].enqueue(own, (1,), {})

    assert isinstance(result, backport.TaskResult)
    assert steps.run(result).return_value == 1

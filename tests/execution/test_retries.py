"""What follows from what a task function raised: retries, snoozes, cancels, failures."""

import asyncio
import functools
import logging
import math
import smtplib
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, models, transaction

from django_simpletask3.db import clock
from django_simpletask3.exceptions import Cancel, Retry, Snooze
from django_simpletask3.execution import finish, perform, start
from django_simpletask3.execution.run import Run
from django_simpletask3.models.losses import losses_of
from django_simpletask3.queue import get_queue
from django_simpletask3.retries import Exponential, Fixed
from django_simpletask3.running import attempt as attempt_module
from django_simpletask3.states import EventKind, Status
from django_simpletask3.worker import connections as worker_connections
from tests.steps import apply_kinds, kinds, stream_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"
MINUTE = timedelta(minutes=1)


class Options:
    """Sets the attributes and the task function of Invoice for one test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            self._monkeypatch.setattr(Invoice, f"django_simpletask3_{name}", value)

    def function(self, function: Callable[..., Any]) -> None:
        self._monkeypatch.setattr(Invoice, "do_task", function)

    def raises(self, *errors: Any) -> None:
        """Let each attempt raise the next of ``errors``, the last one again and again."""

        def body(task: Any) -> None:
            task.task_biz_field = f"attempt {task.attempt}"
            error = errors[min(task.attempt, len(errors)) - 1]
            raise error() if isinstance(error, type) else error

        self.function(body)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Options:
    return Options(monkeypatch)


def started(task: Any) -> Run:
    """Make the task due, whatever it waits for, and start it."""
    Invoice.objects.filter(pk=task.pk).update(run_after=None)
    queue, channel = get_queue(), task.get_event_channel()
    queue.push(channel, [(task.get_task_id(), task.get_task_data())])
    messages = queue.claim(channel, worker=WORKER, limit=1, lease=60)
    [run] = start.start(Invoice, messages, worker=WORKER, lease=60)[0]
    return run


def performed(task: Any) -> Run:
    run = started(task)
    perform.perform(run)
    return run


def attempted(task: Any, times: int = 1) -> Any:
    """The task, reloaded, after that many attempts."""
    for _ in range(times):
        assert finish.finish([performed(task)]) == []
    task.refresh_from_db()
    return task


def last_event(task: Any) -> Any:
    return stream_of(task)[-1]


def seconds_until_due(task: Any) -> float:
    return (task.run_after - clock.now("default")).total_seconds()


# The backoff.


def in_a_minute(*_: Any) -> datetime:
    return clock.after("default", 60)


class Backoff:
    def __call__(self, retry_number: int, error: BaseException) -> float:
        return 60


@pytest.mark.once
@pytest.mark.parametrize(
    "backoff",
    [
        Fixed(60),
        Fixed(MINUTE),
        Exponential(first=60, jitter=0),
        Backoff(),
        staticmethod(lambda retry_number, error: 60),
        lambda retry_number, error: MINUTE,
        in_a_minute,
        functools.partial(in_a_minute),
    ],
    ids=range(8),
)
def test_a_retry_begins_when_the_backoff_says(backoff: Any, options: Options) -> None:
    options(max_retries=1, retry_backoff=backoff)

    task = attempted(Invoice.objects.create(fails=True))

    event = last_event(task)
    assert (event.kind, task.status) == ("retry", Status.PENDING)
    assert 55 < seconds_until_due(task) <= 60
    assert event.data["run_after"] == task.run_after.isoformat()
    assert event.data["retry_in"] == pytest.approx(60, abs=0.1)
    assert task.check_at == task.run_after


def test_the_backoff_gets_the_number_of_the_retry_and_the_error(options: Options) -> None:
    calls: list[tuple[int, BaseException]] = []

    def backoff(retry_number: int, error: BaseException) -> float:
        calls.append((retry_number, error))
        return 0

    options(max_retries=2, retry_backoff=backoff)
    errors = [OSError("first"), KeyError("second"), OSError("third")]
    options.raises(*errors)

    task = attempted(Invoice.objects.create(), times=3)

    assert calls == [(1, errors[0]), (2, errors[1])]
    assert kinds(task) == ["enqueue", *["start", "retry"] * 2, "start", "fail"]


def test_the_backoff_is_called_when_the_function_has_ended_not_when_it_is_recorded(
    options: Options,
) -> None:
    calls: list[int] = []
    options(max_retries=1, retry_backoff=lambda number, error: calls.append(number) or 0)
    task = Invoice.objects.create(fails=True)

    run = performed(task)

    assert (calls, run.task._running_attempt) == ([1], None)
    finish.finish([run])
    assert calls == [1]


def raised(error: BaseException) -> Callable[..., Any]:
    def backoff(*_: Any) -> None:
        raise error

    return backoff


BAD_BACKOFFS = {
    "raises": (raised(ZeroDivisionError("in the backoff")), "ZeroDivisionError: in the backoff"),
    "exits": (lambda *_: sys.exit(3), "SystemExit: 3"),
    "takes nothing": (lambda: 1, "TypeError: "),
    "returns nothing": (lambda *_: None, "TypeError: what django_simpletask3_retry_backoff ret"),
    "returns a text": (lambda *_: "soon", "is of type str: expected seconds or a timedelta"),
    "returns a flag": (lambda *_: True, "is of type bool: expected seconds"),
    "returns a date": (lambda *_: datetime.now(UTC).date(), "is of type date: expected"),
    "returns a naive time": (lambda *_: datetime(2031, 5, 6), "ValueError: what django_simplet"),
    "returns no number": (lambda *_: math.nan, "is out of range: expected seconds"),
    "returns eternity": (lambda *_: timedelta.max, "is out of range: expected seconds"),
    "is none": (None, "'NoneType' object is not callable"),
    "is a number": (5, "'int' object is not callable"),
}


@pytest.mark.once
@pytest.mark.parametrize(("backoff", "problem"), BAD_BACKOFFS.values(), ids=BAD_BACKOFFS)
def test_a_task_whose_backoff_names_no_time_fails_with_both_errors(
    backoff: Any, problem: str, options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    options(max_retries=3, retry_backoff=backoff)
    task = Invoice.objects.create(fails=True, amount=7)

    attempted(task)

    assert (task.status, kinds(task)) == (Status.FAILED, ["enqueue", "start", "fail"])
    assert task.task_biz_field == "task biz data"
    assert task.error_data["type"] == "ValueError"
    assert "invoice of 7 cannot be sent" in task.error_data["message"]
    assert problem in task.error_data["message"]
    assert task.error_data["traceback"].count("Traceback") == 2
    assert last_event(task).data["error"]["message"] == task.error_data["message"]
    [record] = [r for r in caplog.records if r.getMessage().startswith("next_try_not_planned")]
    assert record.levelno == logging.ERROR


def test_a_backoff_that_raises_the_error_again_makes_it_the_failure(options: Options) -> None:
    def backoff(retry_number: int, error: BaseException) -> float:
        raise error

    options(max_retries=3, retry_backoff=backoff)

    task = attempted(Invoice.objects.create(fails=True))

    assert (task.status, task.error_data["message"]) == (
        Status.FAILED,
        "invoice of 0 cannot be sent",
    )


@pytest.mark.parametrize("delay", [-5, timedelta(days=-1), datetime(2001, 1, 1, tzinfo=UTC)])
def test_a_time_that_has_passed_is_now(delay: Any, options: Options) -> None:
    options(max_retries=1, retry_backoff=lambda *_: delay)

    task = attempted(Invoice.objects.create(fails=True))

    assert -60 < seconds_until_due(task) <= 0
    assert last_event(task).data["retry_in"] == 0


def test_a_first_attempt_reads_nothing_for_its_retry(
    options: Options, django_assert_num_queries: Any
) -> None:
    options(max_retries=1)
    run = started(Invoice.objects.create(fails=True))

    with django_assert_num_queries(0):
        perform.perform(run)

    assert run.transition is not None
    assert run.transition.kind == "retry"


# Which errors.


class MailError(smtplib.SMTPException):
    """An error of the project's own."""


HERE = f"{__name__}.MailError"
CHOICES: list[tuple[Any, Any, type[BaseException], bool]] = [
    (None, None, ValueError, True),
    (None, None, SystemExit, True),
    (OSError, None, ConnectionResetError, True),
    (OSError, None, ValueError, False),
    ((), None, ValueError, False),
    ((KeyError, OSError), None, OSError, True),
    ([KeyError, "builtins.OSError"], None, OSError, True),
    ("smtplib.SMTPException", None, MailError, True),
    ("smtplib.SMTPException", HERE, MailError, False),
    ("smtplib.SMTPException", HERE, smtplib.SMTPDataError, True),
    (None, OSError, ConnectionResetError, False),
    (None, OSError, ValueError, True),
    (None, (), ValueError, True),
    # What names no class has no effect on other errors.
    ("smtplib.SMTPExeption", None, MailError, False),
    (("no.such.Module", "smtplib.SMTPException"), None, MailError, True),
    (None, "no.such.Module", MailError, True),
    (None, ("no.such.Module", HERE), MailError, False),
    (None, (7, None), MailError, True),
]


@pytest.mark.once
@pytest.mark.parametrize(("retry_on", "no_retry_on", "error", "is_retried"), CHOICES, ids=repr)
def test_errors_choose_whether_there_is_a_retry(
    retry_on: Any, no_retry_on: Any, error: Any, is_retried: bool, options: Options
) -> None:
    options(max_retries=1, retry_on=retry_on, no_retry_on=no_retry_on)
    options.raises(error if error is not smtplib.SMTPDataError else error(451, b"later"))

    task = attempted(Invoice.objects.create())

    assert task.status == (Status.PENDING if is_retried else Status.FAILED)
    assert task.error_data["type"].endswith(error.__name__)


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_the_time_of_a_retry_may_be_asked_for_after_any_error(
    is_async: bool, options: Options
) -> None:
    def body(task: Any) -> None:
        try:
            raise OSError("no answer")
        except OSError as error:
            raise Retry("the server is busy", after=MINUTE) from error

    async def coroutine(task: Any) -> None:
        await asyncio.sleep(0)
        body(task)

    options(max_retries=1, no_retry_on=OSError, retry_on=(), retry_backoff=raised(KeyError()))
    options.function(coroutine if is_async else body)

    task = attempted(Invoice.objects.create())

    event = last_event(task)
    assert (event.kind, event.reason) == ("retry", "the server is busy")
    assert event.data["retry_in"] == pytest.approx(60, abs=0.1)
    assert task.error_data["type"] == "OSError"
    assert "the server is busy" in task.error_data["traceback"]


def test_without_a_time_the_backoff_is_asked(options: Options) -> None:
    options(max_retries=1, no_retry_on=Exception, retry_backoff=Fixed(60))
    options.raises(Retry("not yet"))

    task = attempted(Invoice.objects.create())

    assert 55 < seconds_until_due(task) <= 60
    assert task.error_data["type"] == "django_simpletask3.exceptions.Retry"


@pytest.mark.parametrize("max_retries", [0, 1])
@pytest.mark.parametrize("how", ["from", "while", "alone"])
def test_when_no_retry_is_left_the_task_fails_with_the_cause(
    max_retries: int, how: str, options: Options
) -> None:
    def body(task: Any) -> None:
        try:
            raise OSError("no answer")
        except OSError as error:
            if how == "while":
                raise Retry("again", after=0)  # noqa: B904 - on purpose
            raise Retry("again", after=0) from (error if how == "from" else None)

    options(max_retries=max_retries)
    options.function(body)

    task = attempted(Invoice.objects.create(), times=max_retries + 1)

    why = f"(not tried again: django_simpletask3_max_retries is {max_retries})"
    expected = (
        ("django_simpletask3.exceptions.Retry", f"again {why}")
        if how == "alone"
        else ("OSError", f"no answer {why}")
    )
    assert kinds(task) == ["enqueue", *["start", "retry"] * max_retries, "start", "fail"]
    assert (task.error_data["type"], task.error_data["message"]) == expected


BAD_TIMES = ["soon", math.nan, datetime(2031, 5, 6), True, [1], timedelta.max]


@pytest.mark.once
@pytest.mark.parametrize("after", BAD_TIMES, ids=repr)
@pytest.mark.parametrize("kind", [Retry, Snooze])
def test_a_time_that_is_none_fails_with_both_errors(
    kind: Any, after: Any, options: Options
) -> None:
    options(max_retries=3)
    options.raises(kind("please", after=after))

    task = attempted(Invoice.objects.create())

    assert task.status == Status.FAILED
    assert task.error_data["type"].endswith(kind.__name__)
    assert "please" in task.error_data["message"]
    assert "Error: after is " in task.error_data["message"]


def grouped(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("of a TaskGroup", [BaseExceptionGroup("inner", errors)])


GROUPS = {
    "one cancel": (grouped(Cancel("why")), "cancel"),
    "one snooze": (grouped(Snooze("why", after=60)), "snooze"),
    "one retry": (grouped(Retry("why", after=60)), "retry"),
    "the cancel counts most": (grouped(Retry(), Snooze(), Cancel("why")), "cancel"),
    "an error and a cancel": (grouped(ValueError(), Cancel("why")), "fail"),
    "all wanted": (grouped(ConnectionError(), TimeoutError()), "retry"),
    "one not wanted": (grouped(ConnectionError(), ValueError()), "fail"),
    "one not retried": (grouped(ConnectionError(), BrokenPipeError()), "fail"),
    "one wanted, one asked for": (grouped(ConnectionError(), Retry()), "retry"),
    "one not wanted, one asked for": (grouped(ValueError(), Retry()), "fail"),
}


@pytest.mark.once
@pytest.mark.parametrize(("error", "kind"), GROUPS.values(), ids=GROUPS)
def test_a_group_of_errors_means_what_all_of_them_mean(
    error: BaseException, kind: str, options: Options
) -> None:
    options(max_retries=1, retry_on=OSError, no_retry_on=BrokenPipeError)
    options.raises(error)

    task = attempted(Invoice.objects.create())

    assert kinds(task)[-1] == kind
    if kind != "fail":
        assert last_event(task).reason == ("why" if "why" in repr(error) else "")


def test_a_snooze_in_a_task_group_is_a_snooze(options: Options) -> None:
    async def part() -> None:
        raise Snooze("not ready", after=60)

    async def body(task: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    options.function(body)

    task = attempted(Invoice.objects.create())

    assert (last_event(task).kind, last_event(task).reason) == ("snooze", "not ready")


# How often, and for how long.


def test_without_a_limit_a_task_is_tried_again_and_again(options: Options) -> None:
    options(max_retries=None, retry_backoff=Fixed(0))

    task = attempted(Invoice.objects.create(fails=True), times=5)

    assert kinds(task) == ["enqueue", *["start", "retry"] * 5]


def backdate(task: Any, kind: str, by: timedelta) -> None:
    events = models.QuerySet(Invoice.event_model).filter(task=task.pk, kind=kind)
    events.update(event_time=clock.now("default") - by)


@pytest.mark.parametrize("retry_for", [1800, timedelta(minutes=30)])
@pytest.mark.parametrize(
    ("age", "delay", "is_retried"), [(0, 1, True), (20, 1, True), (20, 900, False), (40, 1, False)]
)
def test_no_retry_begins_after_the_deadline(
    retry_for: Any, age: int, delay: float, is_retried: bool, options: Options
) -> None:
    options(max_retries=9, retry_for=retry_for, retry_backoff=Fixed(delay))
    task = Invoice.objects.create(fails=True)
    backdate(task, "enqueue", timedelta(minutes=age))

    attempted(task)

    assert task.status == (Status.PENDING if is_retried else Status.FAILED)
    assert task.error_data["message"] == "invoice of 0 cannot be sent"


def test_the_deadline_is_counted_from_the_last_reset(options: Options) -> None:
    options(max_retries=None, retry_for=60, retry_backoff=Fixed(0))
    task = Invoice.objects.create(fails=True)
    backdate(task, "enqueue", timedelta(hours=1))
    attempted(task)

    task.reset()
    attempted(task)

    assert kinds(task) == ["enqueue", "start", "fail", "reset", "start", "retry"]


def test_the_deadline_is_counted_from_the_time_that_was_planned(options: Options) -> None:
    options(max_retries=None, retry_for=60, retry_backoff=Fixed(0))
    task = Invoice.objects.create(fails=True, run_after=0)
    backdate(task, "enqueue", timedelta(hours=1))

    attempted(task)

    assert task.status == Status.PENDING


def test_a_retry_that_was_asked_for_says_that_its_time_is_over(options: Options) -> None:
    options(max_retries=9, retry_for=60)
    options.raises(Retry("busy", after=61))

    task = attempted(Invoice.objects.create())

    message = "busy (not tried again: django_simpletask3_retry_for is over)"
    assert (task.status, task.error_data["message"]) == (Status.FAILED, message)


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"max_retries": 0}, ValueError(), ""),
        ({"max_retries": 0}, Retry("busy", after=1), "no_retry_left"),
        ({"max_retries": 2, "retry_on": OSError}, ValueError(), "error_not_retried"),
        ({"max_retries": 2, "no_retry_on": ValueError}, ValueError(), "error_not_retried"),
        ({"retry_for": 60, "retry_backoff": Fixed(61)}, ValueError(), "retry_time_over"),
        ({"max_snoozes": 0}, Snooze("later", after=1), "no_snooze_left"),
    ],
)
def test_the_event_of_a_failure_says_why_there_is_no_retry(
    settings: dict[str, Any], error: Exception, reason: str, options: Options
) -> None:
    options(**{"max_retries": None, **settings})
    options.raises(error)

    task = attempted(Invoice.objects.create())

    assert (task.status, task.events.get(kind="fail").reason) == (Status.FAILED, reason)


def test_a_reset_counts_retries_and_snoozes_from_zero(options: Options) -> None:
    options(max_retries=1, retry_backoff=Fixed(0))
    options.raises(ValueError, Snooze, ValueError)
    task = attempted(Invoice.objects.create(), times=3)
    assert (task.status, task.retries, task.snoozes) == (Status.FAILED, 1, 1)

    task.reset()
    assert (task.retries, task.snoozes) == (0, 0)
    attempted(task)

    assert (task.status, task.retries, task.snoozes) == (Status.PENDING, 1, 0)


# The database.


def test_an_outcome_that_the_thread_cannot_decide_is_decided_when_it_is_recorded(
    options: Options,
) -> None:
    def body(task: Any) -> None:
        if task.attempt == 2:
            transaction.atomic().__enter__()
            transaction.set_rollback(True)  # nothing can be read on this connection
        raise OSError

    numbers: list[int] = []
    options(max_retries=2, retry_backoff=lambda number, error: numbers.append(number) or 0)
    options.function(body)
    task = attempted(Invoice.objects.create())

    run = performed(task)
    assert (run.transition.kind, isinstance(run.undecided, OSError)) == ("fail", True)  # type: ignore[union-attr]
    worker_connections.close_broken()  # as each thread does
    finish.finish([run])

    assert (kinds(task), numbers) == (["enqueue", *["start", "retry"] * 2], [1, 2])


def test_a_database_that_is_away_is_waited_for(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    options(max_retries=2, retry_backoff=Fixed(0))
    task = attempted(Invoice.objects.create(fails=True))
    with monkeypatch.context() as outage:
        outage.setattr(attempt_module, "read_tries", away)
        run = performed(task)
        with pytest.raises(OperationalError):
            finish.finish([run])
        assert kinds(task) == ["enqueue", "start", "retry", "start"]

    finish.finish([run])
    finish.finish([run])

    assert kinds(task) == ["enqueue", *["start", "retry"] * 2]


def test_an_error_of_the_database_that_stays_fails_the_task_with_both(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise ProgrammingError("permission denied")

    options(max_retries=2, retry_backoff=Fixed(0))
    task = attempted(Invoice.objects.create(fails=True))
    monkeypatch.setattr(attempt_module, "read_tries", forbidden)

    finish.finish([performed(task)])

    task.refresh_from_db()
    assert task.status == Status.FAILED
    assert "invoice of 0 cannot be sent" in task.error_data["message"]
    assert "permission denied" in task.error_data["message"]


def test_a_column_that_cannot_be_written_fails_a_snoozed_task(options: Options) -> None:
    def body(task: Any) -> None:
        task.amount = "many"
        raise Snooze("later", after=60)

    options.function(body)

    task = attempted(Invoice.objects.create())

    assert (task.status, task.error_data["type"]) == (Status.FAILED, "ValueError")


# Snoozes.


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("after", [60, MINUTE, in_a_minute], ids=["seconds", "delay", "time"])
def test_a_snoozed_task_is_called_again_later(
    is_async: bool, after: Any, options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    def body(task: Any) -> None:
        task.task_biz_field = "half"
        raise Snooze("not ready", after=after() if callable(after) else after)

    async def coroutine(task: Any) -> None:
        await asyncio.sleep(0)
        body(task)

    options.function(coroutine if is_async else body)
    task = Invoice.objects.create()
    channel = task.get_event_channel()

    attempted(task)

    event = last_event(task)
    assert (event.kind, event.reason, event.worker) == ("snooze", "not ready", WORKER)
    assert event.data["snooze_in"] == pytest.approx(60, abs=0.1)
    assert event.data["run_after"] == task.run_after.isoformat()
    assert event.data["seconds"] >= 0
    assert (task.status, task.worker, task.check_at) == (Status.PENDING, "", task.run_after)
    assert (task.task_biz_field, task.error_data, task.result_time) == ("half", None, None)
    assert 55 < seconds_until_due(task) <= 60
    assert (get_queue().waiting(channel), get_queue().running(channel)) == (0, 0)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("after", [0, 0.2, -9, timedelta(0), datetime(2001, 1, 1, tzinfo=UTC)])
def test_a_snooze_lasts_at_least_a_second(after: Any, options: Options) -> None:
    options.raises(Snooze(after=after))
    began = clock.now("default")

    task = attempted(Invoice.objects.create())

    assert (task.run_after - began).total_seconds() >= 1
    assert last_event(task).data["snooze_in"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("max_snoozes", [0, 2])
def test_a_task_that_snoozes_too_often_fails(max_snoozes: int, options: Options) -> None:
    options(max_snoozes=max_snoozes, max_retries=5)
    options.raises(Snooze("not ready"))

    task = attempted(Invoice.objects.create(), times=max_snoozes + 1)

    assert kinds(task) == ["enqueue", *["start", "snooze"] * max_snoozes, "start", "fail"]
    assert task.error_data["type"] == "django_simpletask3.exceptions.Snooze"
    assert task.error_data["message"] == (
        f"not ready (not snoozed again: django_simpletask3_max_snoozes is {max_snoozes})"
    )


def test_after_a_snooze_lost_workers_are_counted_from_zero(options: Options) -> None:
    options.raises(Snooze)
    task = Invoice.objects.create()
    apply_kinds(started(task).task, EventKind.RECOVER)
    assert losses_of(Invoice, "default", [task.pk])[task.pk].claims == 1

    attempted(task)

    assert losses_of(Invoice, "default", [task.pk])[task.pk].claims == 0


def test_a_snooze_is_no_retry(options: Options) -> None:
    numbers: list[int] = []
    options(max_retries=2, retry_backoff=lambda number, error: numbers.append(number) or 0)
    options.raises(Snooze, ValueError, Snooze, ValueError, Snooze, ValueError)

    task = attempted(Invoice.objects.create(), times=6)

    rounds = ["start", "snooze", "start", "retry"] * 2
    assert kinds(task) == ["enqueue", *rounds, "start", "snooze", "start", "fail"]
    assert numbers == [1, 2]


# Cancels.


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_a_task_function_can_cancel_its_task(
    is_async: bool, options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    def body(task: Any) -> None:
        task.task_biz_field = "half"
        try:
            raise Cancel("the invoice is paid")
        except Exception:
            pytest.fail("caught")

    async def coroutine(task: Any) -> None:
        await asyncio.sleep(0)
        body(task)

    options(max_retries=3)
    options.function(coroutine if is_async else body)
    task = Invoice.objects.create()
    channel = task.get_event_channel()

    attempted(task)

    event = last_event(task)
    assert (event.kind, event.reason, event.worker) == ("cancel", "the invoice is paid", WORKER)
    assert event.data["seconds"] >= 0
    assert (task.status, task.success, task.task_biz_field) == (Status.CANCELED, None, "half")
    assert (task.error_data, task.result_data, task.check_at) == (None, None, None)
    assert (get_queue().waiting(channel), get_queue().running(channel)) == (0, 0)
    assert not [record for record in caplog.records if record.exc_info]


class Bare(Cancel):
    def __init__(self, order: int) -> None:
        self.order = order


class BareSnooze(Snooze):
    def __init__(self, order: int) -> None:
        self.order = order


class BareRetry(Retry):
    def __init__(self, order: int) -> None:
        self.order = order


@pytest.mark.parametrize(
    ("error", "kind"), [(Bare(7), "cancel"), (BareSnooze(7), "snooze"), (BareRetry(7), "retry")]
)
def test_a_class_of_the_projects_own_means_the_same(
    error: Any, kind: str, options: Options
) -> None:
    options(max_retries=1, retry_on=())
    options.raises(error)

    task = attempted(Invoice.objects.create())

    assert kinds(task) == ["enqueue", "start", kind]


# Attempts that no longer hold the task.


@pytest.mark.parametrize("error", [Retry, Snooze, Cancel])
def test_a_late_outcome_does_nothing_to_the_attempt_that_followed(
    error: Any, options: Options
) -> None:
    options(max_retries=1)
    options.raises(error("too late"))
    task = Invoice.objects.create()
    late = performed(task)
    task.reset()
    started(task)

    finish.finish([late])

    task.refresh_from_db()
    assert (task.status, task.attempt) == (Status.RUNNING, 2)
    assert kinds(task) == ["enqueue", "start", "reset", "start", "reject"]
    assert last_event(task).data["refused"] == error.__name__.lower()


@pytest.mark.parametrize("error", [Retry, Snooze, Cancel])
def test_an_outcome_whose_answer_was_lost_is_recorded_once(error: Any, options: Options) -> None:
    options(max_retries=1)
    options.raises(error("once"))
    task = Invoice.objects.create()
    run = performed(task)

    finish.finish([run])
    run.transition.event = None  # type: ignore[union-attr]
    finish.finish([run])

    assert kinds(task) == ["enqueue", "start", error.__name__.lower()]


@pytest.mark.parametrize("error", [Retry, Snooze, Cancel])
def test_redis_that_is_away_changes_nothing(error: Any, options: Options, settings: Any) -> None:
    options(max_retries=1)
    options.raises(error("please"))
    task = Invoice.objects.create()
    run = performed(task)
    url = settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    finish.finish([run])

    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url
    assert kinds(task) == ["enqueue", "start", error.__name__.lower()]


# The three numbers.


def test_a_task_function_knows_its_retries_and_snoozes(options: Options) -> None:
    seen: list[tuple[int, int, int]] = []

    def body(task: Any) -> None:
        seen.append((task.attempt, task.retries, task.snoozes))
        raise Snooze if task.attempt % 2 else ValueError

    options(max_retries=9, retry_backoff=Fixed(0))
    options.function(body)

    task = attempted(Invoice.objects.create(), times=4)

    assert seen == [(1, 0, 0), (2, 0, 1), (3, 1, 1), (4, 1, 2)]
    assert (task.attempt, task.retries, task.snoozes) == (4, 2, 2)


def test_the_numbers_cost_nothing_in_a_first_attempt_and_two_queries_in_another(
    options: Options, django_assert_num_queries: Any
) -> None:
    def body(task: Any) -> None:
        _ = (task.retries, task.snoozes, task.retries)
        raise ValueError

    options(max_retries=9, retry_backoff=Fixed(0))
    options.function(body)
    task = Invoice.objects.create()

    for queries in (0, 2, 2):
        run = started(task)
        with django_assert_num_queries(queries):
            perform.perform(run)
        finish.finish([run])


def test_a_row_without_events_has_no_retries() -> None:
    task = Invoice(pk=10**6)

    assert (task.retries, task.snoozes) == (0, 0)


def test_the_life_before_the_deletion_of_a_key_does_not_count(options: Options) -> None:
    options(max_retries=1, retry_backoff=Fixed(0))
    first = attempted(Invoice.objects.create(fails=True))
    pk = first.pk
    first.delete()

    task = attempted(Invoice.objects.create(pk=pk, fails=True))

    assert (task.attempt, task.retries, task.status) == (2, 1, Status.PENDING)

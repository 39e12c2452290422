"""Recording outcomes while something is wrong with the database."""

import logging
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from django_simpletask3.exceptions import Cancel, Snooze
from django_simpletask3.execution import perform
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import Status
from django_simpletask3.worker.finisher import Finisher, Outcomes
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.node.counters import Counters
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER, start_waiting

pytestmark = pytest.mark.django_db(transaction=True)


class Bench:
    """A pipeline with its finisher at work, and runs whose bodies have ended."""

    def __init__(self) -> None:
        self.pipeline, self.leases = ModelPipeline(Invoice, 1, WORKER), Leases(WORKER)
        self.looked_for: list[bool] = []
        outcomes = Outcomes(
            self.pipeline, self.leases, Counters(), on_retry=lambda: self.looked_for.append(True)
        )
        self.finisher = Finisher(outcomes)
        self.finisher.start()

    def performed(self) -> None:
        runs = start_waiting(self.pipeline)
        self.leases.add(runs, self.pipeline)
        self.pipeline.accept(runs)
        for run in runs:
            perform.perform(run)
            self.pipeline.mark_performed(run)

    def end(self) -> None:
        self.pipeline.outbox_of("default").put(None)
        self.finisher.join(timeout=30)
        assert not self.finisher.is_alive()


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.end()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="rows cannot be locked here")
def test_a_locked_row_delays_its_own_outcome_only(bench: Bench) -> None:
    culprit = Invoice.objects.create()
    [run] = start_waiting(bench.pipeline)
    bench.leases.add([run], bench.pipeline)
    bench.pipeline.accept([run])
    perform.perform(run)
    holder = connection.copy()
    holder.set_autocommit(False)
    with holder.cursor() as cursor:
        cursor.execute(f"SELECT id FROM testapp_invoice WHERE id = {culprit.pk} FOR UPDATE")

    bench.pipeline.mark_performed(run)
    for _ in range(3):
        other = Invoice.objects.create()
        bench.performed()
        eventually(lambda other=other: status_of(other) == Status.SUCCESS)
    meanwhile = status_of(culprit)
    holder.rollback()
    holder.close()

    eventually(lambda: status_of(culprit) == Status.SUCCESS)
    assert meanwhile == Status.RUNNING
    assert kinds(culprit) == ["enqueue", "start", "ack"]


class Locked(list[int]):
    """A receiver that makes the database refuse one task for a while, as if it were locked."""

    def __init__(self, culprit: Any, times: int) -> None:
        self.pk, self.times = culprit.pk, times

    def __call__(self, task: Any, event: Any, **_: Any) -> None:
        if task.pk == self.pk and event.kind == "ack" and len(self) < self.times:
            self.append(1)
            cause = sqlite3.OperationalError("database table is locked")
            cause.sqlite_errorname = "SQLITE_LOCKED"  # type: ignore[attr-defined]
            raise OperationalError(str(cause)) from cause


@pytest.mark.one_server
def test_an_error_that_passes_is_never_a_task_s_failure_however_long_it_lasts(
    bench: Bench,
) -> None:
    culprit, other = Invoice.objects.create(), Invoice.objects.create()
    locked = Locked(culprit, times=7)
    event_recorded.connect(locked)
    try:
        bench.performed()

        eventually(lambda: status_of(other) == Status.SUCCESS)
        # The outcome is committed a moment before it is let go.
        eventually(lambda: [run.pk for run in bench.leases.running()] in ([culprit.pk], []))
        eventually(lambda: status_of(culprit) == Status.SUCCESS, timeout=60)
    finally:
        event_recorded.disconnect(locked)

    assert len(locked) == 7
    assert kinds(culprit) == ["enqueue", "start", "ack"]
    eventually(lambda: bench.leases.running() == [])


@pytest.mark.parametrize("request_", [Snooze("later"), Cancel("why")], ids=["snooze", "cancel"])
def test_what_a_task_function_asks_for_is_no_error_in_the_log(
    bench: Bench,
    request_: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def ask(task: Any) -> None:
        raise request_

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(Invoice, "do_task", ask)
    Invoice.objects.create()
    is_snoozed = isinstance(request_, Snooze)

    bench.performed()

    [record] = eventually(lambda: [r for r in caplog.records if r.name.endswith(".tasks")])
    name = "task_snooze" if is_snoozed else "task_cancel"
    assert (record.getMessage().split()[0], record.levelno) == (name, logging.INFO)
    assert record.exc_info is None
    eventually(lambda: len(bench.looked_for) == is_snoozed)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_task_that_runs_again_is_looked_for(
    bench: Bench, retries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", retries)
    task = Invoice.objects.create(fails=True)

    bench.performed()

    eventually(lambda: not bench.leases.running())
    assert status_of(task) == (Status.PENDING if retries else Status.FAILED)
    eventually(lambda: len(bench.looked_for) == retries)


@pytest.mark.parametrize("retries", [0, 1])
def test_what_a_task_function_raised_is_logged_once(
    bench: Bench, retries: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name, level = ("task_retry", logging.WARNING) if retries else ("task_fail", logging.ERROR)
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", retries)
    task = Invoice.objects.create(fails=True)

    bench.performed()

    eventually(lambda: caplog.records)
    [record] = [r for r in caplog.records if r.exc_info]
    assert (record.name, record.levelno) == ("django_simpletask3.tasks", level)
    assert record.getMessage().startswith(f"{name} model=testapp.Invoice pk={task.pk} attempt=1 ")
    expected = (f"testapp.Invoice:{task.pk}", 1, WORKER)
    assert (vars(record)["task"], vars(record)["attempt"], vars(record)["worker"]) == expected


def test_a_success_has_no_exception(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Invoice.objects.create()

    bench.performed()

    [record] = eventually(lambda: [r for r in caplog.records if r.name.endswith(".tasks")])
    assert (record.getMessage().split()[0], record.exc_info) == ("task_ack", None)


def test_a_failure_that_is_refused_is_logged_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Invoice.objects.create()

    def cancel_and_fail(task: Any) -> None:
        Invoice.objects.get(pk=task.pk).cancel()
        raise ValueError("too late")

    monkeypatch.setattr(Invoice, "do_task", cancel_and_fail)
    bench.performed()

    [record] = eventually(lambda: [r for r in caplog.records if r.exc_info])
    assert record.getMessage().startswith("task_rejected")
    assert (record.levelno, status_of(task)) == (logging.WARNING, Status.CANCELED)


def test_an_outcome_that_cannot_be_written_is_logged_with_one_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(event: Any, **_: Any) -> None:
        if event.kind == "ack":
            raise ValueError("cannot be written")

    event_recorded.connect(refuse)
    try:
        Invoice.objects.create()
        bench.performed()
        eventually(lambda: [r for r in caplog.records if r.name.endswith(".tasks")])
    finally:
        event_recorded.disconnect(refuse)

    [record] = [r for r in caplog.records if r.exc_info]
    assert record.getMessage().startswith("task_fail")
    assert "cannot be written" in caplog.text


class Broken(logging.Handler):
    """A handler that lets its error out."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("disk full")


def test_a_handler_that_raises_does_not_end_the_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("django_simpletask3.tasks"), "handlers", [Broken()])
    first = Invoice.objects.create(fails=True)
    bench.performed()
    eventually(lambda: status_of(first) == Status.FAILED)

    second = Invoice.objects.create()
    bench.performed()

    eventually(lambda: status_of(second) == Status.SUCCESS)

"""The threads of a process: what must not end them, and what becomes of a process that lost one."""

import signal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_simpletask3.execution import perform
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind, Status
from django_simpletask3.worker.finisher import Finisher, Outcomes
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.node.counters import Counters
from django_simpletask3.worker.pipeline import ModelPipeline
from django_simpletask3.worker.task_thread import TaskThread
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp import models as testapp
from tests.testapp.models import Invoice, Scripted
from tests.worker.conftest import Start
from tests.worker.steps import WORKER, start_waiting

#: How a session ends itself on a server.
SUICIDE = {
    "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
    "mysql": "KILL CONNECTION_ID()",
}


def test_a_session_that_is_lost_costs_one_task_only(
    pipeline: ModelPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(task: Invoice) -> str:
        with connection.cursor() as cursor:
            if task.amount == 0 and connection.vendor in SUICIDE:
                cursor.execute(SUICIDE[connection.vendor])
            elif task.amount == 0:
                connection.connection.close()
            cursor.execute("SELECT 1")
        return "OK"

    monkeypatch.setattr(Invoice, "do_task", body)
    for amount in range(4):
        Invoice.objects.create(amount=amount)
    runs = sorted(start_waiting(pipeline), key=lambda run: run.task.amount)
    pipeline.accept(runs)
    pipeline.inbox.put(None)

    thread = TaskThread(pipeline, 0)
    thread.start()
    thread.join(timeout=30)

    assert [run.transition and run.transition.kind for run in runs] == ["fail", "ack", "ack", "ack"]


def test_a_process_that_lost_a_thread_is_replaced(start_server: Start) -> None:
    start_server("--models", "testapp.Scripted")
    # After a task that takes a while, all outcomes are recorded by the finisher.
    slow = Scripted.objects.create(script={"do": "sleep in c", "seconds": 1})
    eventually(lambda: status_of(slow) == Status.SUCCESS)

    name = "finisher-testapp.Scripted@default"
    steps = [{"do": "end thread", "name": name, "attempt": 1}, {"do": "value"}]
    task = Scripted.objects.create(script=steps)
    eventually(lambda: status_of(task) == Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "release", "start", "ack"]
    first, second = task.events.filter(kind="start").values_list("worker", flat=True)
    assert first != second


@pytest.mark.one_server
@pytest.mark.parametrize(
    "signal_name",
    [
        pytest.param("task_started", id="the fetcher"),
        pytest.param("task_succeeded", id="the finisher"),
    ],
)
def test_a_receiver_that_exits_ends_no_thread(start_server: Start, signal_name: str) -> None:
    first = Scripted.objects.create(script={"do": "exit on", "signal": signal_name})
    server = start_server("--models", "testapp.Scripted")
    eventually(lambda: status_of(first) == Status.SUCCESS)

    later = [Scripted.objects.create() for _ in range(3)]
    eventually(lambda: {status_of(task) for task in later} == {Status.SUCCESS})

    workers = {task.events.get(kind="ack").worker for task in [first, *later]}
    assert len(workers) == 1
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=30) == 0


class Bomb:
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_run_of_a_task_thread_that_dies_is_not_counted_any_more(
    pipeline: ModelPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, "do_task", lambda task: setattr(task, "task_biz_field", Bomb()))
    Invoice.objects.create()
    runs = start_waiting(pipeline)
    thread = TaskThread(pipeline, 0)
    thread.start()

    pipeline.accept(runs)
    pipeline.inbox.put(None)
    thread.join()

    assert pipeline.held == 0
    assert pipeline.next_batch("default") == runs


def refuse_outcome_of(task: Any) -> Any:
    def refuse(event: Any, **_: Any) -> None:
        if event.task_id == task.pk and event.kind in (EventKind.ACK, EventKind.FAIL):
            raise ValueError("not this one")

    return refuse


def test_a_run_that_cannot_be_recorded_holds_up_no_other_and_its_lease_ends(
    pipeline: ModelPipeline,
) -> None:
    culprit, *others = [Invoice.objects.create() for _ in range(3)]
    leases, counters = Leases(WORKER), Counters()
    runs = start_waiting(pipeline)
    leases.add(runs, pipeline)
    for run in runs:
        perform.perform(run)
        pipeline.outbox_of("default").put(run)
    pipeline.outbox_of("default").put(None)
    finisher = Finisher(Outcomes(pipeline, leases, counters))

    event_recorded.connect(refuse := refuse_outcome_of(culprit))
    try:
        finisher.start()
        finisher.join(timeout=20)
    finally:
        event_recorded.disconnect(refuse)

    assert {status_of(task) for task in others} == {Status.SUCCESS}
    assert status_of(culprit) == Status.RUNNING
    assert leases.running() == []
    assert {name: n for name, n in counters.read().items() if n} == {"succeeded": 2}


@pytest.mark.one_server
def test_many_pipelines_that_cannot_finish_end_together_when_the_time_is_up(
    start_server: Start, tmp_path: Path
) -> None:
    models = [
        testapp.Invoice,
        testapp.Keyworded,
        testapp.UuidKeyed,
        testapp.Numbered,
        testapp.Reminder,
        testapp.Secret,
        testapp.Ledger,
        testapp.Parcel,
    ]
    go = tmp_path / "go"
    step = {"do": "wait on", "signal": "task_succeeded", "path": str(go)}
    first = Scripted.objects.create(script=step)
    server = start_server(DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="0.2")
    eventually(lambda: status_of(first) == Status.SUCCESS)
    tasks = [model._base_manager.create() for model in models]
    rows = [type(task)._base_manager.filter(pk=task.pk) for task in tasks]
    eventually(lambda: {row.get().status for row in rows} == {Status.SUCCESS})

    server.send_signal(signal.SIGTERM)
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output


@pytest.mark.one_server
def test_the_garbage_collector_looks_at_nothing_that_was_there_before(drain: Any) -> None:
    task = Scripted.objects.create(script={"do": "count frozen objects"})

    drain()

    assert Scripted.objects.get(pk=task.pk).result_data > 10_000

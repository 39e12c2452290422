"""Nodes of a project without Redis: they poll the tables."""

import os
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from django_simpletask3 import control
from django_simpletask3.dependencies import group
from django_simpletask3.exceptions import DuplicateTask
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery import service
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind, Status
from django_simpletask3.worker.databases import table_poller
from django_simpletask3.worker.fetcher import Fetcher
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.loop import StopRequest
from django_simpletask3.worker.maintenance.due_hints import DueHints
from django_simpletask3.worker.maintenance.jobs import shared_schedule
from django_simpletask3.worker.maintenance.lease_monitor import LeaseMonitor
from django_simpletask3.worker.maintenance.snapshot import SharedSnapshot, table_bits
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.schedules.steps import make_schedule
from tests.steps import (
    PAST,
    create_task,
    has_message,
    is_due_for_recovery,
    kinds,
    locked_elsewhere,
    status_of,
)
from tests.testapp.models import (
    Bill,
    Errand,
    ForeignBill,
    Invoice,
    PaidBill,
    Scripted,
    Step,
)
from tests.worker.conftest import Start
from tests.worker.processes import lines

URL = "DJANGO_SIMPLETASK3_SIMQ_REDIS_URL"
WAY = ["enqueue", "start", "ack"]

RUNNING_AND_BLOCKED = sorted([Status.RUNNING, Status.RUNNING, Status.BLOCKED])
SHARED = ["Errand", "Bill", "PaidBill", "ForeignBill", "Invoice"]

StartNode = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_node(start_server: Start, settings) -> StartNode:  # type: ignore[no-untyped-def]
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"

    def start(*arguments: str, models: str = "testapp.Scripted") -> "subprocess.Popen[str]":
        environment = {URL: "none://", "DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "1"}
        return start_server("--models", models, *arguments, **environment)

    return start


def noting(path: Path, text: str, **columns: object) -> Scripted:
    steps = [{"do": "append", "path": str(path), "text": text}]
    return Scripted.objects.create(script=steps, **columns)


def waiting_for(path: Path) -> Scripted:
    return Scripted.objects.create(script=[{"do": "wait", "path": str(path)}])


def succeed(*tasks: object) -> bool:
    return {status_of(task) for task in tasks} == {Status.SUCCESS}


def test_tasks_run_that_were_saved_before_and_since_and_that_become_due(
    start_node: StartNode, tmp_path: Path
) -> None:
    before = [noting(tmp_path / "runs", f"before-{number}") for number in range(2)]
    start_node()
    eventually(lambda: succeed(*before))
    later = noting(tmp_path / "runs", "later", run_after=2.0)
    since = noting(tmp_path / "runs", "since")
    failing = Scripted.objects.create(script=[{"do": "fail", "attempt": 1}])

    eventually(lambda: succeed(later, since), timeout=60)
    eventually(lambda: status_of(failing) == Status.FAILED)

    assert {tuple(kinds(task)) for task in (*before, since, later)} == {tuple(WAY)}
    assert lines(tmp_path / "runs") == ["before-0", "before-1", "later", "since"]
    later.refresh_from_db()
    assert later.start_time >= later.run_after


def test_of_tasks_that_wait_those_of_the_highest_priority_start_first(
    start_node: StartNode, tmp_path: Path
) -> None:
    numbers = [0, 5, -3, 5, 9]
    tasks = [noting(tmp_path / "runs", str(number), priority=number) for number in numbers]

    start_node("--burst").communicate(timeout=60)

    assert succeed(*tasks)
    ran = [line.split()[0] for line in (tmp_path / "runs").read_text().splitlines()]
    assert list(map(int, ran)) == sorted(numbers, reverse=True)


def test_a_task_of_a_killed_node_is_recovered_by_the_next(
    start_node: StartNode, tmp_path: Path
) -> None:
    task = waiting_for(tmp_path / "go")
    node = start_node()
    eventually(lambda: status_of(task) == Status.RUNNING)

    os.killpg(node.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    start_node()

    eventually(lambda: succeed(task), timeout=60)
    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]


def test_a_paused_queue_rests_until_it_is_resumed_and_a_node_stops_when_it_is_asked_to(
    start_node: StartNode, tmp_path: Path
) -> None:
    held = waiting_for(tmp_path / "go")
    node = start_node("--processes", "2")
    eventually(lambda: status_of(held) == Status.RUNNING)
    control.pause(Scripted)
    (tmp_path / "go").touch()
    eventually(lambda: succeed(held))
    paused, other = noting(tmp_path / "runs", "paused"), waiting_for(tmp_path / "stop")
    control.resume(Scripted)
    eventually(lambda: succeed(paused), timeout=60)
    eventually(lambda: status_of(other) == Status.RUNNING)

    other.refresh_from_db()
    control.stop(other.worker)
    (tmp_path / "stop").touch()
    output, _ = node.communicate(timeout=60)

    assert node.returncode == 0, output
    assert "WARNING" not in output
    assert "ERROR" not in output


def test_limits_unique_keys_retries_and_schedules_count_in_shared_tables_too(
    start_node: StartNode, tmp_path: Path
) -> None:
    wait = {"do": "wait", "path": str(tmp_path / "go")}
    errands = [create_task(Errand, customer="a", script=wait) for _ in range(3)]
    failing = create_task(Bill, number="1", script={"do": "fail", "attempt": 1})
    held = create_task(Bill, number="2", script=wait)
    with pytest.raises(DuplicateTask):
        create_task(PaidBill, number="2")
    others = [create_task(PaidBill, number="3"), create_task(ForeignBill, number="4")]
    hour = timedelta(hours=1)
    make_schedule(cron="", interval=hour, active_since=datetime.now(UTC) - 2 * hour)

    start_node(models=",".join(f"testapp.{name}" for name in SHARED))
    eventually(lambda: status_of(held) == Status.RUNNING)
    others.append(create_task(PaidBill, number="2"))
    eventually(lambda: sorted(map(status_of, errands)) == RUNNING_AND_BLOCKED)
    (tmp_path / "go").touch()
    eventually(lambda: succeed(*errands, failing, held, *others))
    eventually(lambda: succeed(*Invoice.objects.all()))

    ways = sorted(map(kinds, errands), key=len)
    assert ways == [WAY, WAY, ["enqueue", "block", "unblock", "start", "ack"]]
    assert kinds(failing) == ["enqueue", "start", "retry", "start", "ack"]
    assert {tuple(kinds(task)) for task in (held, *others)} == {tuple(WAY)}


def test_a_burst_runs_what_tasks_lead_to_and_ends(start_node: StartNode) -> None:
    first = [Step.objects.create() for _ in range(3)]
    group(*first).then(Step()).enqueue()

    output, _ = start_node("--burst", models="testapp.Step").communicate(timeout=60)

    assert succeed(*Step.objects.all()), output
    assert Step.objects.count() == 4
    assert "none://" in output


@pytest.fixture
def pipeline(settings, transactional_db: None) -> ModelPipeline:  # type: ignore[no-untyped-def]
    """A pipeline of a project without Redis, without a server."""
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    return ModelPipeline(Invoice, threads=3, worker="node:1")


@pytest.mark.skipif(connection.vendor == "sqlite", reason="rows cannot be locked")
@pytest.mark.parametrize("burst", [True, False], ids=["burst", "node"])
def test_a_locked_row_is_waited_for_while_others_start(
    pipeline: ModelPipeline, burst: bool
) -> None:
    first, locked, last = (create_task(Invoice) for _ in range(3))
    fetcher = Fetcher(pipeline, Leases("node:1"), StopRequest(), burst=burst)

    with locked_elsewhere(locked):
        fetcher.step()
        started = {pipeline.inbox.get_nowait().pk for _ in range(pipeline.held)}
        pause = fetcher.step()
        has_ended = burst and pipeline.empty_at > 0
    fetcher.step()

    assert started == {first.pk, last.pk}
    assert (pause > 0, has_ended) == (True, False)
    assert pipeline.inbox.get_nowait().pk == locked.pk


def test_a_task_that_cannot_start_is_tried_again_although_others_become_due(
    pipeline: ModelPipeline, listen: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_poller, "_AGAIN_SECONDS", 0.0)
    failing = create_task(Invoice)
    refused: list[object] = []

    def refuse(task: Any, event: Any, **_: Any) -> None:
        if task.pk == failing.pk and event.kind == EventKind.START:
            refused.append(event)
            raise ValueError("never")

    listen(refuse, event_recorded)
    fetcher = Fetcher(pipeline, Leases("node:1"), StopRequest(), burst=False)

    for _ in range(2):
        create_task(Invoice)
        before = len(refused)
        fetcher.step()
        assert len(refused) > before

    assert pipeline.held == 2


@pytest.mark.django_db
def test_a_look_at_all_tables_is_one_statement_of_each_database(settings) -> None:  # type: ignore[no-untyped-def]
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    snapshot = SharedSnapshot()
    monitor = LeaseMonitor(shared_schedule(), snapshot, DueHints())
    monitor.check()
    assert snapshot.latest().due_tables == 0
    create_task(Invoice)

    with CaptureQueriesContext(connections["default"]) as asked:
        monitor.check()

    assert snapshot.latest().due_tables == table_bits([Invoice])
    assert snapshot.may_be_due(table_bits([Invoice]), since=0.0)
    assert not snapshot.may_be_due(table_bits([Scripted]), since=0.0)
    assert monitor.idle_for() == 0.0
    assert len([q for q in asked.captured_queries if "UNION" in q["sql"]]) == 1


@pytest.mark.django_db(transaction=True)
def test_a_change_to_none_finds_the_waiting_tasks_and_the_change_back_pushes_them(
    settings: Any, redis_url: str
) -> None:
    with_redis = create_task(Invoice)
    rows_of(Invoice, "default").update_managed(mod_time=PAST)
    assert not is_due_for_recovery(with_redis)

    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    without_redis, snapshot = create_task(Invoice), SharedSnapshot()
    LeaseMonitor(shared_schedule(), snapshot, DueHints()).check()
    assert is_due_for_recovery(without_redis)
    assert is_due_for_recovery(with_redis)
    assert snapshot.latest().due_tables == table_bits([Invoice])

    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = redis_url
    assert service.push_overdue() == 1
    assert has_message(without_redis)

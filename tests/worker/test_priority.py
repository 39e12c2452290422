"""Nodes claim tasks by priority, also after a process or Redis was killed."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.db import clock
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker import pipeline
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import create_task, kinds, message_count, row_of, status_of
from tests.testapp.models import Invoice, Scripted
from tests.worker.conftest import Start

ONE_THREAD = {"DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "1"}
MIXED = {"low": -1, "plain": 0, "high": 1, "lowest": -100, "plain too": 0, "highest": 100}
BY_PRIORITY = ["highest", "high", "plain", "plain too", "low", "lowest"]


class Runs:
    """Tasks that note in a file, as their names, when they run."""

    def __init__(self, folder: Path) -> None:
        self.file, self.go = folder / "runs", folder / "go"

    def task(self, name: str, priority: int = 0, *, waits: bool = False) -> Scripted:
        script = [{"do": "append", "path": str(self.file), "text": name}]
        script += [{"do": "wait", "path": str(self.go)}] if waits else []
        return create_task(Scripted, script=script, priority=priority)

    def mixed(self, *, waits: bool = False) -> list[Scripted]:
        return [self.task(name, priority, waits=waits) for name, priority in MIXED.items()]

    def order(self) -> list[str]:
        text = self.file.read_text() if self.file.exists() else ""
        return [line.rpartition(" ")[0] or line for line in text.splitlines()]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def all_succeeded(tasks: list[Any]) -> bool:
    return {status_of(task) for task in tasks} == {Status.SUCCESS}


def test_a_node_runs_tasks_by_priority(start_server: Start, runs: Runs) -> None:
    tasks = runs.mixed()

    start_server("--models", "testapp.Scripted", **ONE_THREAD)
    eventually(lambda: all_succeeded(tasks))

    assert runs.order() == BY_PRIORITY
    assert message_count(Scripted) == 0


@pytest.mark.once
@pytest.mark.parametrize("priority", [100, -100])
def test_a_node_that_waits_starts_a_task_with_a_priority_at_once(
    start_server: Start, runs: Runs, priority: int
) -> None:
    first = runs.task("first")
    start_server("--models", "testapp.Scripted")
    eventually(lambda: status_of(first) == Status.SUCCESS)

    tasks = []
    for number in range(20):
        tasks.append(runs.task(str(number), priority))
        eventually(lambda: status_of(tasks[-1]) == Status.SUCCESS, timeout=4.0)

    assert message_count(Scripted) == 0
    assert not get_queue().db.exists(get_queue().get_mq_key(Scripted.get_event_channel()))


@pytest.mark.thorough
def test_a_node_killed_with_claimed_tasks_loses_none_and_they_keep_their_priority(
    start_server: Start, runs: Runs
) -> None:
    tasks = runs.mixed(waits=True)
    threads = {"DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "4"}
    node = start_server("--models", "testapp.Scripted", **threads)
    eventually(lambda: len(runs.order()) == 4)
    assert sorted(runs.order()) == sorted(BY_PRIORITY[:4])

    os.killpg(node.pid, signal.SIGKILL)
    node.wait()
    runs.file.unlink()
    runs.go.touch()
    start_server("--models", "testapp.Invoice")  # recovers what the dead one held
    eventually(lambda: {status_of(task) for task in tasks} == {Status.PENDING})
    eventually(lambda: message_count(Scripted) == 6)
    start_server("--models", "testapp.Scripted", **ONE_THREAD)
    eventually(lambda: all_succeeded(tasks))

    # Of two with the same priority, either may have been recovered first.
    assert sorted(runs.order()) == sorted(MIXED)
    assert [MIXED[name] for name in runs.order()] == sorted(MIXED.values(), reverse=True)
    recovered = ["enqueue", "start", "recover", "start", "ack"]
    assert sorted(map(kinds, tasks)) == sorted([recovered] * 4 + [["enqueue", "start", "ack"]] * 2)
    assert message_count(Scripted) == 0


@pytest.mark.thorough
@pytest.mark.one_server
def test_after_redis_came_back_empty_tasks_run_by_priority_and_due_time(
    start_server: Start, own_redis_server: RedisServer, runs: Runs
) -> None:
    busy = runs.task("busy", waits=True)
    start_server(
        "--models",
        "testapp.Scripted",
        DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url,
        **ONE_THREAD,
    )
    eventually(lambda: status_of(busy) == Status.RUNNING)
    eventually(lambda: not get_queue().has_lost_data())
    tasks = runs.mixed()

    own_redis_server.kill()
    own_redis_server.start()
    eventually(lambda: message_count(Scripted) == len(tasks), timeout=40)
    runs.go.touch()
    eventually(lambda: all_succeeded([busy, *tasks]))

    assert runs.order() == ["busy", *BY_PRIORITY]
    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "recover", "start", "ack")}


@pytest.mark.once
def test_ten_thousand_low_ones_delay_a_high_one_by_one_claimed_batch(start_server: Start) -> None:
    Invoice.objects.bulk_enqueue([{"priority": -1} for _ in range(10_000)])
    start_server("--models", "testapp.Invoice", "--processes", "1", **ONE_THREAD)
    eventually(lambda: Invoice.objects.succeeded().count() >= 300)

    high = Invoice.objects.create(priority=1)
    pushed_at = clock.now("default")
    eventually(lambda: status_of(high) == Status.SUCCESS)

    high = row_of(high)
    between = Invoice.objects.filter(start_time__gt=pushed_at, start_time__lt=high.start_time)
    # Two: the claim that was under way may begin with the place of a task that just ended.
    assert between.count() <= 2 + pipeline._MAX_READ_AHEAD
    assert Invoice.objects.pending().count() > 5000

"""Processes that task functions start: their signals, and their end."""

import os
import signal
from pathlib import Path

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import status_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Start
from tests.worker.processes import child_of, is_alive, lines

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not Path("/proc").exists(), reason="processes are not listed here"),
]


def test_what_a_task_starts_handles_signals_by_default(start_server: Start) -> None:
    forking = Scripted.objects.create(script={"do": "terminate fork"})
    starting = Scripted.objects.create(script={"do": "ignores interrupts"})
    start_server("--models", "testapp.Scripted")

    for task in (forking, starting):
        eventually(lambda task=task: status_of(task) == Status.SUCCESS)

    assert (forking.result_data, starting.result_data) == (-signal.SIGTERM, "False")


def test_threads_coroutines_and_forks_of_a_task_have_it_as_current_task(
    start_server: Start,
) -> None:
    task = Scripted.objects.create(script={"do": "current keys"})
    start_server("--models", "testapp.Scripted")

    eventually(lambda: status_of(task) == Status.SUCCESS)

    current = dict.fromkeys(("function", "copied", "fork"), task.pk)
    assert task.result_data == {**current, "coroutine": [task.pk, task.pk], "plain": None}


@pytest.mark.parametrize("end", ["node", "worker", "supervisor"])
def test_what_a_task_started_ends_with_its_worker(
    start_server: Start, tmp_path: Path, end: str
) -> None:
    steps = [
        {"do": "start processes", "path": str(tmp_path / "pids"), "attempt": 1},
        {"do": "wait", "path": str(tmp_path / "go"), "attempt": 1},
    ]
    task = Scripted.objects.create(script=steps)
    node = start_server("--models", "testapp.Scripted", DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="1")
    started = [
        int(pid)
        for pid in eventually(lambda: lines(tmp_path / "pids")[1:] and lines(tmp_path / "pids"))
    ]
    assert all(map(is_alive, started))

    if end == "node":
        node.send_signal(signal.SIGTERM)
        node.wait(timeout=30)
        assert not any(map(is_alive, started))
    else:
        os.kill(node.pid if end == "supervisor" else child_of(task), signal.SIGKILL)

    eventually(lambda: not any(map(is_alive, started)))

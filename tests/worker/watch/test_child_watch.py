"""One task that holds the interpreter, or ends its process, costs no other task anything."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import kinds, row_of, status_of
from tests.testapp.models import Hurried, Scripted
from tests.worker.conftest import Start
from tests.worker.processes import child_of, freeze, lines

pytestmark = pytest.mark.once

#: With such a lease the interpreter may be held for three seconds.
SETTINGS = {
    "DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "9",
    "DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1",
    "DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "6",
}


class Neighbours:
    """Five tasks that run until they may end."""

    def __init__(self, folder: Path) -> None:
        self._go, self._here = folder / "go", [folder / f"here {n}" for n in range(5)]
        self.tasks = [
            Scripted.objects.create(
                script=[
                    {"do": "touch", "path": str(here)},
                    {"do": "wait", "path": str(self._go)},
                ]
            )
            for here in self._here
        ]

    def have_begun(self) -> bool:
        return all(here.exists() for here in self._here)

    def end(self) -> None:
        self._go.touch()
        eventually(lambda: {status_of(task) for task in self.tasks} == {Status.SUCCESS})

    @property
    def kinds(self) -> list[list[str]]:
        return [kinds(task) for task in self.tasks]


@pytest.fixture
def neighbours(transactional_db: None, tmp_path: Path) -> Neighbours:
    return Neighbours(tmp_path)


def printed(server: "subprocess.Popen[str]") -> str:
    """All that the server has printed, after it was stopped."""
    server.send_signal(signal.SIGTERM)
    return server.communicate(timeout=60)[0]


RELEASED = ["enqueue", "start", "release", "start", "ack"]


@pytest.mark.parametrize(
    ("step", "reason", "code"),
    [
        ("hold interpreter", "interpreter_held", -signal.SIGABRT),
        ("segfault", "worker_died", -signal.SIGSEGV),
        ("exit process", "worker_died", 9),
    ],
)
def test_only_the_task_that_ends_its_process_loses_its_claim(
    start_server: Start, neighbours: Neighbours, step: str, reason: str, code: int
) -> None:
    server = start_server("--models", "testapp.Scripted", **SETTINGS)
    eventually(neighbours.have_begun)

    poison = Scripted.objects.create(script={"do": step, "attempt": 1})
    eventually(lambda: status_of(poison) == Status.SUCCESS)
    neighbours.end()
    output = printed(server)

    assert kinds(poison) == ["enqueue", "start", "recover", "start", "ack"], output
    recovery = poison.events.get(kind="recover")
    assert (recovery.reason, recovery.data["exit_code"]) == (reason, code)
    assert neighbours.kinds == [RELEASED] * 5
    if code < 0:
        assert "child_traces" in output
        assert f"in {step.replace(' ', '_')}" in output
    if reason == "interpreter_held":
        assert f"testapp.Scripted@default:{poison.pk}" in output


def test_a_time_limit_holds_for_a_function_that_holds_the_interpreter(
    start_server: Start, neighbours: Neighbours
) -> None:
    server = start_server("--models", "testapp.Scripted,testapp.Hurried")
    eventually(neighbours.have_begun)

    hold = {"do": "sleep in c", "seconds": 100, "attempt": 1}
    poison = Hurried.objects.create(script=hold)
    eventually(lambda: status_of(poison) == Status.SUCCESS)
    neighbours.end()
    output = printed(server)

    assert kinds(poison) == ["enqueue", "start", "recover", "start", "ack"], output
    assert poison.events.get(kind="recover").reason == "time_limit"
    assert neighbours.kinds == [RELEASED] * 5


def test_a_process_that_is_stopped_is_not_ended_and_its_node_is_not_well(
    start_server: Start, tmp_path: Path
) -> None:
    go, beat = tmp_path / "go", tmp_path / "beat"
    task = Scripted.objects.create(script={"do": "wait", "path": str(go)})
    start_server("--models", "testapp.Scripted", "--heartbeat-file", str(beat), **SETTINGS)
    eventually(lambda: status_of(task) == Status.RUNNING)
    eventually(beat.exists)

    freeze(task, child_of(task))
    eventually(lambda: time.time() - beat.stat().st_mtime > 4)
    os.kill(child_of(task), signal.SIGCONT)
    eventually(lambda: time.time() - beat.stat().st_mtime < 1)
    go.touch()
    eventually(lambda: status_of(task) == Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "ack"]


def test_a_task_that_has_ended_its_process_twice_runs_alone(
    start_server: Start, neighbours: Neighbours, tmp_path: Path
) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go alone"
    exits = [{"do": "exit process", "attempt": attempt} for attempt in (1, 2)]
    steps = [{"do": "append", "path": str(runs)}, *exits, {"do": "wait", "path": str(go)}]
    start_server("--models", "testapp.Scripted", **SETTINGS)
    eventually(neighbours.have_begun)

    poison = Scripted.objects.create(script=steps)
    eventually(lambda: len(lines(runs)) == 3)
    eventually(lambda: {status_of(task) for task in neighbours.tasks} == {Status.RUNNING})
    later = Scripted.objects.create()
    eventually(lambda: status_of(later) == Status.RUNNING or status_of(later) == Status.SUCCESS)
    beside = {row_of(task).worker for task in (*neighbours.tasks, later)} - {""}
    poison.refresh_from_db()

    assert poison.status == Status.RUNNING
    assert poison.worker not in beside
    assert kinds(poison) == ["enqueue", *["start", "recover"] * 2, "start"]
    go.touch()
    eventually(lambda: status_of(poison) == Status.SUCCESS)
    eventually(lambda: not Path("/proc", poison.worker.split(":")[1]).exists())
    neighbours.end()
    assert all(set(k) == {"enqueue", "start", "release", "ack"} for k in neighbours.kinds)


def test_of_many_suspects_each_runs_alone_and_one_is_charged(
    start_server: Start, neighbours: Neighbours
) -> None:
    start_server("--models", "testapp.Scripted", **SETTINGS)
    eventually(neighbours.have_begun)

    exits = [{"do": "exit in c", "attempt": attempt} for attempt in (1, 2, 3)]
    poison = Scripted.objects.create(script=exits)
    eventually(lambda: kinds(poison).count("release") == 2)
    neighbours.end()
    eventually(lambda: status_of(poison) == Status.SUCCESS)

    expected = ["enqueue", *["start", "release"] * 2, "start", "recover", "start", "ack"]
    assert kinds(poison) == expected
    assert poison.events.filter(kind="release").first().data["suspects"] == 6
    assert poison.events.get(kind="recover").data["losses"] == 1
    assert neighbours.kinds == [["enqueue", *["start", "release"] * 2, "start", "ack"]] * 5


def test_a_burst_waits_for_tasks_that_run_alone(start_server: Start, tmp_path: Path) -> None:
    # The other task fails after a second, also alone.
    other = {"do": "wait", "path": str(tmp_path / "never"), "timeout": 1}
    neighbour = Scripted.objects.create(script=other)
    exits = [{"do": "exit in c", "attempt": attempt} for attempt in (1, 2, 3)]
    poison = Scripted.objects.create(script=exits)

    server = start_server("--burst", "--models", "testapp.Scripted", **SETTINGS)
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output
    assert (status_of(poison), status_of(neighbour)) == (Status.SUCCESS, Status.FAILED)

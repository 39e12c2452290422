"""One task that holds the interpreter, or ends its process, costs no other task anything."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Start

#: With such a lease the interpreter may be held for three seconds.
SETTINGS = {
    "DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "9",
    "DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1",
    "DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "6",
}
HOLD = {"do": "hold interpreter", "attempt": 1}


class Neighbours:
    """Five tasks that run until they may end."""

    def __init__(self, folder: Path, *waits: Any) -> None:
        self._go, self._here = folder / "go", [folder / f"here {n}" for n in range(5)]
        self.tasks = [
            Scripted.objects.create(
                script=[
                    {"do": "touch", "path": str(here)},
                    *waits,
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


@pytest.mark.thorough
def test_a_task_that_holds_the_interpreter_costs_no_other_task_a_claim(
    start_server: Start, neighbours: Neighbours
) -> None:
    server = start_server("--models", "testapp.Scripted", **SETTINGS)
    eventually(neighbours.have_begun)

    poison = Scripted.objects.create(script=HOLD)
    eventually(lambda: status_of(poison) == Status.SUCCESS)
    neighbours.end()
    output = printed(server)

    assert kinds(poison) == ["enqueue", "start", "recover", "start", "ack"]
    recovery = poison.events.get(kind="recover")
    assert (recovery.reason, recovery.data["exit_code"]) == ("interpreter_held", -signal.SIGABRT)
    assert neighbours.kinds == [RELEASED] * 5
    assert f"testapp.Scripted@default:{poison.pk}" in output
    assert "child_traces" in output
    assert "in hold_interpreter" in output

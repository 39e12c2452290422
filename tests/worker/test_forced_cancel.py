"""A cancel by force ends functions that do not look, in real workers."""

import signal
from typing import Any

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Scripted
from tests.testapp.scripts import COROUTINES
from tests.worker.conftest import Begin, Begun
from tests.worker.processes import child_of, is_alive

ONE = {"DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "1"}
STUBBORN: list[dict[str, Any]] = [
    {"do": "ignore exceptions"},
    *({"do": "coroutine", "way": way} for way in COROUTINES),
]


def has_ended(begun: Begun) -> bool:
    """Whether the only thread of the node was free for another task."""
    after = Scripted.objects.create()
    eventually(lambda: status_of(after) == Status.SUCCESS)
    return True


@pytest.mark.once
@pytest.mark.parametrize("step", STUBBORN, ids=lambda step: step.get("way", step["do"]))
def test_a_function_that_does_not_look_is_interrupted(begin: Begin, step: Any) -> None:
    begun = begin(**step, environment=ONE)
    child = child_of(begun.task)

    begun.row().cancel("now", force=True)

    assert has_ended(begun)
    assert is_alive(child)
    assert kinds(begun.task) == ["enqueue", "start", "cancel"]
    assert begun.task.events.last().data["forced"] is True
    begun.end_node()


@pytest.mark.once
def test_a_function_that_cannot_be_interrupted_costs_its_process(
    begin: Begin, tmp_path: Any
) -> None:
    begun = begin("ignore everything")
    child, go, here = child_of(begun.task), tmp_path / "go", tmp_path / "neighbour"
    script = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    neighbour = Scripted.objects.create(script=script)
    eventually(here.exists)

    begun.row().cancel("now", force=True)
    eventually(lambda: not is_alive(child))
    go.touch()
    eventually(lambda: status_of(neighbour) == Status.SUCCESS)

    assert kinds(begun.task) == ["enqueue", "start", "cancel"]
    assert kinds(neighbour) == ["enqueue", "start", "release", "start", "ack"]
    release = neighbour.events.get(kind="release")
    assert release.reason == "worker_stopping"
    assert "process_losses" not in (release.data or {})
    assert neighbour.retries == 0
    begun.end_node()


@pytest.mark.once
def test_a_stopping_node_ends_what_is_canceled_by_force(begin: Begin) -> None:
    names = ("SHUTDOWN_GRACE", "SIMQ_RUNNING_TIMEOUT")  # it is not longer than a lease
    grace = {f"DJANGO_SIMPLETASK3_{name}": "3600" for name in names}
    begun = begin("ignore exceptions", environment={**ONE, **grace})
    begun.node.send_signal(signal.SIGTERM)

    begun.row().cancel("now", force=True)

    output, _ = begun.node.communicate(timeout=60)  # long before the grace time ends
    assert begun.node.returncode == 0, output
    assert kinds(begun.task) == ["enqueue", "start", "cancel"]


@pytest.mark.thorough
def test_a_task_that_was_canceled_in_vain_is_canceled_by_force(begin: Begin) -> None:
    begun = begin("ignore exceptions", environment=ONE)
    begun.row().cancel("please")

    begun.row().cancel("now", force=True)

    assert has_ended(begun)
    assert kinds(begun.task) == ["enqueue", "start", "cancel", "note"]
    begun.end_node()

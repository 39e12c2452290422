"""Task functions that stop, in real workers: with their worker, and after a cancel or a reset."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import kinds, row_of, status_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Start

WAYS = ["work until stopped", "work until stopped, awaiting"]
GRACE = {"DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1"}
Begin = Callable[..., Any]


@pytest.fixture
def begin(start_server: Start, tmp_path: Path) -> Begin:
    """Start a node and a task whose function takes this step, until it has come to it."""

    def begin(do: str = WAYS[0], *steps: Any, **environment: str) -> Any:
        here, ended = tmp_path / "here", tmp_path / "ended"
        last = {"do": do, "path": str(ended), "attempt": 1}
        first = {"do": "touch", "path": str(here)}
        task = Scripted.objects.create(script=[*steps, first, last])
        task.node = start_server("--models", "testapp.Scripted", **environment)
        task.ended = ended
        eventually(here.exists)
        return task

    return begin


def end(node: "subprocess.Popen[str]") -> float:
    """Stop ``node``, which must end in order; the seconds that it took."""
    began = time.monotonic()
    node.send_signal(signal.SIGTERM)
    output, _ = node.communicate(timeout=60)
    assert node.returncode == 0, output
    return time.monotonic() - began


@pytest.mark.parametrize("way", WAYS)
def test_a_function_that_looks_stops_at_the_end_of_the_grace_time(begin: Begin, way: str) -> None:
    rewritten = {"do": "value", "value": "again"}
    task = begin(way, {"do": "rewrite", "script": rewritten}, **GRACE)

    end(task.node)

    assert task.ended.exists()
    assert kinds(task) == ["enqueue", "start", "release"]
    assert row_of(task).script == rewritten
    assert task.events.last().data["seconds"] >= 1.0


def test_a_function_may_leave_as_soon_as_its_worker_stops(begin: Begin) -> None:
    task = begin("leave with worker", DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="30")

    seconds = end(task.node)

    assert seconds < 10.0
    assert task.ended.exists()
    assert kinds(task) == ["enqueue", "start", "release"]


@pytest.mark.thorough
def test_another_node_goes_on_with_what_was_given_back(begin: Begin, start_server: Start) -> None:
    task = begin(**GRACE)
    start_server("--models", "testapp.Scripted")

    end(task.node)

    eventually(lambda: status_of(task) == Status.SUCCESS)
    assert kinds(task) == ["enqueue", "start", "release", "start", "ack"]

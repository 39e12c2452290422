"""Task functions that stop, in real workers: with their worker, and after a cancel or a reset."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import kinds, row_of, status_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Start
from tests.worker.processes import child_of

WAYS = ["work until stopped", "work until stopped, awaiting"]
GRACE = {"DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1"}
Begin = Callable[..., Any]


@pytest.fixture
def begin(start_server: Start, tmp_path: Path) -> Begin:
    """Start a node and a task whose function takes this step, until it has come to it."""

    def begin(do: str = WAYS[0], *steps: Any, **environment: str) -> Any:
        here, ended = tmp_path / "here", tmp_path / "ended"
        last = {"do": do, "attempt": 1} | ({} if do == "block" else {"path": str(ended)})
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


@pytest.mark.parametrize("way", WAYS)
def test_a_canceled_function_stops_and_leaves_no_late_result(begin: Begin, way: str) -> None:
    task = begin(way)

    Scripted.objects.get(pk=task.pk).cancel("not needed")
    canceled_at = time.monotonic()
    eventually(task.ended.exists)
    seconds = time.monotonic() - canceled_at
    end(task.node)

    assert seconds < 1.5  # with what the machine needs
    assert kinds(task) == ["enqueue", "start", "cancel"]
    assert get_queue().running(Scripted.get_event_channel()) == 0


def test_a_cancel_reaches_the_function_without_redis(
    begin: Begin, own_redis_server: RedisServer
) -> None:
    task = begin(DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url)
    own_redis_server.kill()

    Scripted.objects.get(pk=task.pk).cancel()

    eventually(task.ended.exists)
    end(task.node)
    assert kinds(task) == ["enqueue", "start", "cancel"]


@pytest.mark.thorough
def test_a_reset_stops_the_first_attempt_while_another_node_makes_the_second(
    begin: Begin, start_server: Start
) -> None:
    task = begin(DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER="1")
    other = start_server("--models", "testapp.Scripted")
    warm_up = Scripted.objects.create()
    eventually(lambda: status_of(warm_up) == Status.SUCCESS)

    Scripted.objects.get(pk=task.pk).reset()

    eventually(task.ended.exists)
    eventually(lambda: status_of(task) == Status.SUCCESS)
    for node in (task.node, other):
        end(node)
    assert kinds(task) == ["enqueue", "start", "reset", "start", "ack"]
    first, second = task.events.filter(kind="start")
    assert first.worker != second.worker


@pytest.mark.thorough
def test_a_lease_that_is_lost_to_another_node_stops_the_function(
    begin: Begin, start_server: Start
) -> None:
    lease = {"DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "2", **GRACE}
    task = begin(**lease)
    frozen = child_of(task)

    os.kill(frozen, signal.SIGSTOP)
    start_server("--models", "testapp.Scripted", **lease)
    eventually(lambda: status_of(task) == Status.SUCCESS, timeout=60)
    os.kill(frozen, signal.SIGCONT)

    eventually(task.ended.exists)
    end(task.node)
    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]


@pytest.mark.thorough
def test_a_worker_that_is_killed_after_a_cancel_brings_nothing_back(begin: Begin) -> None:
    task = begin("block")
    Scripted.objects.get(pk=task.pk).cancel()

    os.kill(child_of(task), signal.SIGKILL)

    after = Scripted.objects.create()
    eventually(lambda: status_of(after) == Status.SUCCESS)
    end(task.node)
    assert kinds(task) == ["enqueue", "start", "cancel"]
    assert status_of(task) == Status.CANCELED


@pytest.mark.thorough
def test_a_cancel_that_dies_before_its_commit_stops_nothing(begin: Begin) -> None:
    task = begin("wait")
    code = (
        "import os, signal, django; django.setup()\n"
        "from django.db import transaction\n"
        "from tests.testapp.models import Scripted\n"
        "with transaction.atomic():\n"
        f"    Scripted.objects.get(pk={task.pk}).cancel()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}

    client = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    task.ended.touch()  # for which the function waits

    assert client.returncode == -signal.SIGKILL
    eventually(lambda: status_of(task) == Status.SUCCESS)
    assert kinds(task) == ["enqueue", "start", "ack"]

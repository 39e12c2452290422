"""Task functions that stop, in real workers: with their worker, and after a cancel or a reset."""

import os
import signal
import subprocess
import sys
import time

import pytest

from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import kinds, row_of, status_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Begin, Start
from tests.worker.processes import child_of, freeze

WORK = "work until stopped"
WAYS = [WORK, "work until stopped, awaiting"]
GRACE = {"DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1"}


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
def test_a_function_that_looks_stops_at_the_end_of_the_grace_time(begin: Begin, way: str) -> None:
    rewritten = {"do": "value", "value": "again"}
    begun = begin(way, before=[{"do": "rewrite", "script": rewritten}], environment=GRACE)

    begun.end_node()

    assert begun.ended.exists()
    assert kinds(begun.task) == ["enqueue", "start", "release"]
    assert row_of(begun.task).script == rewritten
    assert begun.task.events.last().data["seconds"] >= 1.0


@pytest.mark.once
def test_a_function_may_leave_as_soon_as_its_worker_stops(begin: Begin) -> None:
    begun = begin("leave with worker", environment={"DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "30"})

    seconds = begun.end_node()

    assert seconds < 10.0
    assert begun.ended.exists()
    assert kinds(begun.task) == ["enqueue", "start", "release"]


@pytest.mark.thorough
def test_another_node_goes_on_with_what_was_given_back(begin: Begin, start_server: Start) -> None:
    begun = begin(WORK, environment=GRACE)
    start_server("--models", "testapp.Scripted")

    begun.end_node()

    eventually(lambda: status_of(begun.task) == Status.SUCCESS)
    assert kinds(begun.task) == ["enqueue", "start", "release", "start", "ack"]


@pytest.mark.parametrize("way", WAYS)
def test_a_canceled_function_stops_and_leaves_no_late_result(begin: Begin, way: str) -> None:
    begun = begin(way)

    begun.row().cancel("not needed")
    canceled_at = time.monotonic()
    eventually(begun.ended.exists)
    seconds = time.monotonic() - canceled_at
    begun.end_node()

    assert seconds < 1.5  # with what the machine needs
    assert kinds(begun.task) == ["enqueue", "start", "cancel"]
    assert get_queue().running(Scripted.get_event_channel()) == 0


@pytest.mark.thorough
def test_a_cancel_reaches_the_function_without_redis(
    begin: Begin, own_redis_server: RedisServer
) -> None:
    begun = begin(WORK, environment={"DJANGO_SIMPLETASK3_SIMQ_REDIS_URL": own_redis_server.url})
    own_redis_server.kill()

    begun.row().cancel()

    eventually(begun.ended.exists)
    begun.end_node()
    assert kinds(begun.task) == ["enqueue", "start", "cancel"]


@pytest.mark.thorough
def test_a_reset_stops_the_first_attempt_while_another_node_makes_the_second(
    begin: Begin, start_server: Start
) -> None:
    begun = begin(WORK, environment={"DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER": "1"})
    start_server("--models", "testapp.Scripted")
    warm_up = Scripted.objects.create()
    eventually(lambda: status_of(warm_up) == Status.SUCCESS)

    begun.row().reset()

    eventually(begun.ended.exists)
    eventually(lambda: status_of(begun.task) == Status.SUCCESS)
    begun.end_node()
    assert kinds(begun.task) == ["enqueue", "start", "reset", "start", "ack"]
    first, second = begun.task.events.filter(kind="start")
    assert first.worker != second.worker


@pytest.mark.thorough
def test_a_lease_that_is_lost_to_another_node_stops_the_function(
    begin: Begin, start_server: Start
) -> None:
    lease = {"DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "2", **GRACE}
    begun = begin(WORK, environment=lease)
    frozen = child_of(begun.task)

    freeze(begun.task, frozen)
    start_server("--models", "testapp.Scripted", **lease)
    eventually(lambda: status_of(begun.task) == Status.SUCCESS, timeout=60)
    os.kill(frozen, signal.SIGCONT)

    eventually(begun.ended.exists)
    begun.end_node()
    assert kinds(begun.task) == ["enqueue", "start", "recover", "start", "ack"]


@pytest.mark.thorough
def test_a_worker_that_is_killed_after_a_cancel_brings_nothing_back(begin: Begin) -> None:
    begun = begin("block")
    begun.row().cancel()

    os.kill(child_of(begun.task), signal.SIGKILL)

    after = Scripted.objects.create()
    eventually(lambda: status_of(after) == Status.SUCCESS)
    begun.end_node()
    assert kinds(begun.task) == ["enqueue", "start", "cancel"]
    assert status_of(begun.task) == Status.CANCELED


@pytest.mark.thorough
def test_a_cancel_that_dies_before_its_commit_stops_nothing(begin: Begin) -> None:
    begun = begin("wait")
    code = (
        "import os, signal, django; django.setup()\n"
        "from django.db import transaction\n"
        "from tests.testapp.models import Scripted\n"
        "with transaction.atomic():\n"
        f"    Scripted.objects.get(pk={begun.task.pk}).cancel()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}

    client = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    begun.ended.touch()  # for which the function waits

    assert client.returncode == -signal.SIGKILL
    eventually(lambda: status_of(begun.task) == Status.SUCCESS)
    assert kinds(begun.task) == ["enqueue", "start", "ack"]

"""Nodes expire tasks within seconds: without Redis, after a kill, once, and in a burst."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.audit.check import audit
from django_simpletask3.db import clock
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import PAST, kinds, status_of
from tests.testapp.models import Offer
from tests.worker.conftest import Start
from tests.worker.processes import lines

pytestmark = pytest.mark.one_server

MODELS = ("--models", "testapp.Offer")
DAY = 86400
#: How long a node may take to start, too, on a machine that has other things to do.
SECONDS = 60.0


def canceled(*tasks: Any) -> bool:
    return {status_of(task) for task in tasks} == {Status.CANCELED}


def waiting_in_each_way(expires: Any) -> list[Offer]:
    """A blocked task, one that is not due yet, and one that waits to run again."""
    return [
        Offer.objects.enqueue(expires=expires, blocked=True),
        Offer.objects.enqueue(expires=expires, run_after=DAY),
        Offer.objects.enqueue(expires=expires, run_after=DAY, script={"do": "value"}),
    ]


def test_a_node_expires_tasks_while_redis_is_away(
    own_redis_server: RedisServer, start_server: Start, tmp_path: Path
) -> None:
    ran = Offer.objects.enqueue(script={"do": "touch", "path": str(tmp_path / "ready")})
    start_server(*MODELS)
    eventually(lambda: status_of(ran) is Status.SUCCESS)
    tasks = waiting_in_each_way(2)

    own_redis_server.kill()

    eventually(lambda: canceled(*tasks), timeout=SECONDS)
    assert kinds(tasks[1]) == ["enqueue", "expire"]


def test_a_task_whose_node_is_killed_does_not_run_again_once_it_has_expired(
    start_server: Start, tmp_path: Path
) -> None:
    ready, executions = tmp_path / "ready", tmp_path / "executions"
    node = start_server(*MODELS)
    Offer.objects.enqueue(script={"do": "touch", "path": str(ready)})
    eventually(ready.exists)
    script = [{"do": "append", "path": str(executions)}, {"do": "wait for ever"}]
    task = Offer.objects.enqueue(expires=5, script=script)
    blocked = Offer.objects.enqueue(expires=5, blocked=True)
    eventually(lambda: lines(executions))

    os.killpg(node.pid, signal.SIGKILL)
    node.wait()
    eventually(lambda: task.expires_at <= clock.now("default"))
    start_server(*MODELS)

    eventually(lambda: canceled(task, blocked), timeout=SECONDS)
    assert kinds(task) == ["enqueue", "start", "recover", "expire"]
    assert lines(executions) == ["run"]
    assert list(audit(Offer, "default")) == []


def test_two_nodes_expire_each_task_once(start_server: Start) -> None:
    for _ in range(2):
        start_server(*MODELS)
    tasks = Offer.objects.bulk_enqueue([{"run_after": DAY} for _ in range(40)], expires=3)
    others, lasting = waiting_in_each_way(3), Offer.objects.enqueue(blocked=True, expires=DAY)

    eventually(lambda: canceled(*tasks, *others), timeout=SECONDS)

    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "expire")}
    assert kinds(others[0]) == ["enqueue", "block", "expire"]
    assert status_of(lasting) is Status.BLOCKED
    assert list(audit(Offer, "default")) == []


@pytest.mark.parametrize("is_redis_there", [True, False], ids=["Redis", "no Redis"])
def test_a_burst_ends_and_expires_what_is_due(
    own_redis_server: RedisServer, drain: Callable[..., str], is_redis_there: bool, tmp_path: Path
) -> None:
    path = str(tmp_path / "executions")
    expired = waiting_in_each_way(PAST)
    expired.append(Offer.objects.enqueue(expires=PAST, script={"do": "append", "path": path}))
    sound = Offer.objects.enqueue(expires=DAY, script={"do": "append", "path": path})
    if not is_redis_there:
        own_redis_server.kill()

    drain(*MODELS)

    assert canceled(*expired)
    assert status_of(sound) is Status.SUCCESS
    assert lines(Path(path)) == ["run"]


def test_a_task_that_expires_behind_a_long_one_is_not_begun(
    start_server: Start, tmp_path: Path
) -> None:
    """The one thread is busy; the task waits in Redis or in the inbox of the process."""
    started, go, begun = (tmp_path / name for name in ("started", "go", "begun"))
    long = Offer.objects.enqueue(
        script=[{"do": "touch", "path": str(started)}, {"do": "wait", "path": str(go)}]
    )
    start_server(*MODELS)
    eventually(started.exists)
    task = Offer.objects.enqueue(expires=1, script={"do": "touch", "path": str(begun)})

    eventually(lambda: canceled(task), timeout=SECONDS)
    go.touch()

    eventually(lambda: status_of(long) is Status.SUCCESS)
    assert not begun.exists()

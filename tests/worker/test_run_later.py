"""Tasks that wait for a time start within a second, also on a node that has nothing to do."""

from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.db import clock
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import create_task, status_of
from tests.testapp.models import Invoice
from tests.worker.conftest import Start

pytestmark = pytest.mark.thorough

#: Seconds on a machine with other work.
TOLERANCE = 0.7


def start_idle_node(start_server: Start, **environment: str) -> None:
    """Start a node, and wait until it has nothing to do and looks at the tables now and then."""
    first = create_task(Invoice)
    start_server("--models", "testapp.Invoice", **environment)
    eventually(lambda: status_of(first) == Status.SUCCESS)


def delay_of(task: Any) -> float:
    """By how many seconds ``task`` started late."""
    eventually(lambda: status_of(task) == Status.SUCCESS)
    return float((task.start_time - task.run_after).total_seconds())


@pytest.mark.parametrize("processes", ["1", "2"])
def test_tasks_that_are_due_soon_start_within_a_second(start_server: Start, processes: str) -> None:
    start_idle_node(start_server, DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER=processes)

    tasks = [create_task(Invoice, run_after=seconds) for seconds in (0.6, 1.0, 3.3, 3.9)]

    delays = [delay_of(task) for task in tasks]
    assert all(0 <= delay <= 1.0 + TOLERANCE for delay in delays), delays


def test_tasks_that_waited_for_long_start_within_a_second(start_server: Start) -> None:
    """No hint is pushed for them: a node finds them by itself before they are due."""
    tasks = [create_task(Invoice, run_after=600) for _ in range(3)]
    start_idle_node(start_server)
    moments = [clock.after("default", seconds) for seconds in (5.2, 5.7, 7.0)]

    for task, moment in zip(tasks, moments, strict=True):
        Invoice.objects.filter(pk=task.pk).update(run_after=moment)

    delays = [delay_of(task) for task in tasks]
    assert all(0 <= delay <= 1.0 + TOLERANCE for delay in delays), delays


@pytest.mark.parametrize("move", ["reset", "save"])
def test_a_task_that_is_moved_to_a_near_time_starts_within_a_second(
    start_server: Start, move: str
) -> None:
    task = create_task(Invoice, run_after=timedelta(days=1))
    start_idle_node(start_server)

    if move == "reset":
        task.reset(run_after=2)
    else:
        task.run_after = 2
        task.save()

    assert 0 <= delay_of(task) <= 1.0 + TOLERANCE


@pytest.mark.one_server
def test_without_redis_a_task_starts_within_five_seconds(
    start_server: Start, own_redis_server: RedisServer
) -> None:
    start_idle_node(start_server, DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url)
    own_redis_server.kill()

    tasks = [create_task(Invoice, run_after=seconds) for seconds in (1.0, 4.0, 6.5)]

    delays = [delay_of(task) for task in tasks]
    assert all(0 <= delay <= 5.0 + TOLERANCE for delay in delays), delays

"""Tasks that wait for a time start soon after it, also on a node that has nothing to do."""

from itertools import pairwise

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import create_task, kinds, status_of
from tests.testapp.models import Invoice
from tests.worker.conftest import Start

pytestmark = pytest.mark.thorough


def start_idle_node(start_server: Start, **environment: str) -> None:
    """Start a node, and wait until it has nothing to do and looks at the tables now and then."""
    first = create_task(Invoice)
    start_server("--models", "testapp.Invoice", **environment)
    eventually(lambda: status_of(first) == Status.SUCCESS)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_node_starts_each_task_before_the_next_is_due(start_server: Start, nodes: int) -> None:
    """By its regular checks a node would miss some of them in every round."""
    for _ in range(nodes):
        start_idle_node(start_server)

    # The machine may be busy for some seconds.
    assert any(are_started_in_time() for _ in range(4))


def are_started_in_time() -> bool:
    """Whether each of six new tasks starts when it is due, before the next one is."""
    tasks = [create_task(Invoice, run_after=1.0 + 1.5 * number) for number in range(6)]

    eventually(lambda: {status_of(task) for task in tasks} == {Status.SUCCESS})
    assert all(task.start_time >= task.run_after for task in tasks)
    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "start", "ack")}
    return all(task.start_time < following.run_after for task, following in pairwise(tasks))


@pytest.mark.one_server
def test_without_redis_tasks_start_when_they_are_due(
    start_server: Start, own_redis_server: RedisServer
) -> None:
    start_idle_node(start_server, DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url)
    own_redis_server.kill()

    tasks = [create_task(Invoice, run_after=seconds) for seconds in (1.0, 4.0)]

    eventually(lambda: {status_of(task) for task in tasks} == {Status.SUCCESS})
    assert all(task.start_time >= task.run_after for task in tasks)
    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "start", "ack")}

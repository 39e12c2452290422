"""Function tasks on a node."""

import os
import signal
from typing import Any

import pytest

from django_simpletask3.contrib.tasks.models import FunctionTask
from tests.contrib.tasks import steps
from tests.forked import django_process
from tests.functions import tasks
from tests.functions.framework import TaskResultStatus

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_server]


@pytest.fixture
def burst(redis_url: str) -> Any:
    """Run what is due on a node, and wait for its end; what it printed."""
    nodes: list[Any] = []

    def run(*arguments: str) -> str:
        node = django_process("django-simpletask3-server", "--burst", "-v", "2", *arguments)
        nodes.append(node)
        output, _ = node.communicate(timeout=60)
        assert node.returncode == 0, output
        return str(output)

    yield run
    for node in nodes:
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGKILL)


def test_a_node_runs_its_queues_and_survives_a_kill(burst: Any) -> None:
    killed = tasks.kill_node_once.using(queue_name="mail").enqueue()
    sent, added = tasks.send.enqueue("ada"), tasks.add.enqueue(1)

    burst("--queues", "mail")

    for result in (killed, sent, added):
        result.refresh()
    assert (killed.status, killed.return_value) == (TaskResultStatus.SUCCESSFUL, 2)
    assert len(set(killed.worker_ids)) == 2
    assert [e.exception_class.__name__ for e in killed.errors] == ["WorkerLost"]
    assert sent.return_value == "sent to ada"
    assert added.status == TaskResultStatus.READY
    assert steps.run_messages(FunctionTask) == 1

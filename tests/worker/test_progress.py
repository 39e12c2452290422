"""The progress of a task function in a real worker: written, printed, and left by a kill."""

import os
import signal

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import kinds, status_of, stream_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Start
from tests.worker.processes import child_of


@pytest.mark.one_server
def test_a_killed_process_leaves_the_progress_that_was_written(start_server: Start) -> None:
    report = {"do": "report", "attempt": 1, "done": 1, "total": 4, "message": "first page"}
    task = Scripted.objects.create(script=[report, {"do": "block", "attempt": 1}])
    node = start_server("--models", "testapp.Scripted", "-v", "2")
    eventually(lambda: "note" in kinds(task))

    os.kill(child_of(task), signal.SIGKILL)
    eventually(lambda: status_of(task) == Status.SUCCESS)
    node.send_signal(signal.SIGTERM)
    output, _ = node.communicate(timeout=60)

    assert kinds(task) == ["enqueue", "start", "note", "recover", "start", "ack"]
    stream = stream_of(task)
    assert (stream[2].reason, stream[2].data) == (
        "first page",
        {"progress": {"done": 1, "total": 4}},
    )
    assert "progress" not in stream[-1].data
    keys = f"model=testapp.Scripted pk={task.pk} attempt=1"
    line = f'task_progress {keys} done=1 total=4 message="first page"'
    assert output.count("task_progress") == output.count(line) == 1

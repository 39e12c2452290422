"""Tasks that are healthy, at settings that are not."""

from pathlib import Path

import pytest

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Scripted
from tests.worker.conftest import Start
from tests.worker.processes import lines

pytestmark = pytest.mark.one_server

LEASE = 1.0
BODIES = 6


@pytest.mark.parametrize("interval", ["0.1", "3600"])
def test_bodies_that_outlast_four_leases_are_each_run_once_by_many(
    start_server: Start, tmp_path: Path, interval: str
) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    tasks = [
        Scripted.objects.create(
            script=[
                {"do": "append", "path": str(runs), "text": str(number)},
                {"do": "wait", "path": str(go)},
            ]
        )
        for number in range(BODIES)
    ]
    for _ in range(2):
        start_server(
            "--models",
            "testapp.Scripted",
            "--processes",
            "3",
            DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT=str(LEASE),
            DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="0.5",
            DJANGO_SIMPLETASK3_SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL=interval,
        )
    eventually(lambda: {status_of(task) for task in tasks} == {Status.RUNNING})
    firsts = [task.check_at for task in tasks]

    for task, first in zip(tasks, firsts, strict=True):
        eventually(lambda task=task, first=first: _seconds_since(first, task) > 4 * LEASE)
    go.touch()
    eventually(lambda: {status_of(task) for task in tasks} == {Status.SUCCESS})

    assert lines(runs) == [str(number) for number in range(BODIES)]
    assert [kinds(task) for task in tasks] == [["enqueue", "start", "ack"]] * BODIES


def _seconds_since(first: object, task: Scripted) -> float:
    task.refresh_from_db()
    return (task.check_at - first).total_seconds()

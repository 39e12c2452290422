"""Tasks of a table are started in each database, without more of them than there is room for."""

import pytest

from django_simpletask3.states import Status
from django_simpletask3.worker.databases.starts import Starts
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.steps import status_of
from tests.testapp.models import Reminder

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.mark.parametrize("room", [1, 2, 3])
def test_databases_share_the_room(room: int) -> None:
    tasks = [Reminder(text="now") for _ in range(6)]
    for number, task in enumerate(tasks):
        task.save(using=("default", "other")[number % 2])
    pipeline = ModelPipeline(Reminder, threads=room, worker="node:1")
    starts = Starts(pipeline, Leases("node:1"))

    assert starts.start_from_table(room)
    assert 1 <= pipeline.held <= room
    while starts.start_from_table(room):
        pass

    assert {status_of(task) for task in tasks} == {Status.RUNNING}

"""How much work a process takes that its threads cannot begin yet."""

import pytest

from django_simpletask3.execution.run import Run
from django_simpletask3.worker.fetcher import Fetcher
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.loop import StopRequest
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.steps import create_task
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db


@pytest.fixture
def pipeline() -> ModelPipeline:
    return ModelPipeline(Invoice, threads=4, worker="node:1")


def perform(pipeline: ModelPipeline, seconds: float) -> None:
    run = Run(create_task(Invoice), pipeline.worker, seconds=seconds)
    pipeline.accept([run])
    pipeline.mark_performed(run)


def test_before_a_body_has_ended_a_lane_takes_what_its_threads_can_begin(
    pipeline: ModelPipeline,
) -> None:
    assert pipeline.capacity(0) == 4


def test_of_long_bodies_nothing_is_taken_ahead(pipeline: ModelPipeline) -> None:
    perform(pipeline, seconds=1.0)

    assert pipeline.capacity(0) == 4


def test_of_short_bodies_50_milliseconds_are_taken_ahead(pipeline: ModelPipeline) -> None:
    perform(pipeline, seconds=0.01)

    assert pipeline.capacity(0) == 4 + 4 * 5


def test_where_few_tasks_came_few_are_asked_for(transactional_db: None, redis_url: str) -> None:
    pipeline = ModelPipeline(Invoice, threads=2, worker="node:1")
    perform(pipeline, seconds=0.0001)
    Invoice.objects.bulk_create([Invoice() for _ in range(19)])  # and the one above
    fetcher = Fetcher(pipeline, Leases("node:1"), StopRequest(), burst=True)
    claimed = []

    for _ in range(4):
        before = pipeline.held
        fetcher.step()
        claimed.append(pipeline.held - before)

    assert claimed == [2, 10, 8, 0]

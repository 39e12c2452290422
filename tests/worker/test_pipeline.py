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
def pipeline_of_four() -> ModelPipeline:
    """A pipeline with four threads, without a server."""
    return ModelPipeline(Invoice, threads=4, worker="node:1")


def perform(pipeline: ModelPipeline, seconds: float) -> None:
    run = Run(create_task(Invoice), pipeline.worker, seconds=seconds)
    pipeline.accept([run])
    pipeline.mark_performed(run)


def test_before_a_task_has_ended_there_is_capacity_for_one_task_a_thread(
    pipeline_of_four: ModelPipeline,
) -> None:
    assert pipeline_of_four.capacity(0) == 4


def test_long_tasks_are_not_claimed_ahead(pipeline_of_four: ModelPipeline) -> None:
    perform(pipeline_of_four, seconds=1.0)

    assert pipeline_of_four.capacity(0) == 4


def test_short_tasks_are_claimed_50_milliseconds_ahead(pipeline_of_four: ModelPipeline) -> None:
    perform(pipeline_of_four, seconds=0.01)

    assert pipeline_of_four.capacity(0) == 4 + 4 * 5


def test_a_claim_asks_for_few_messages_after_few_came(
    transactional_db: None, redis_url: str
) -> None:
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

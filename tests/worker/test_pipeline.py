"""How much work a process takes that its threads cannot begin yet."""

from typing import Any

import pytest

from django_simpletask3.execution.due_tasks import TriedRows, start_from_table
from django_simpletask3.execution.perform import perform as perform_run
from django_simpletask3.execution.run import Run
from django_simpletask3.limits import Limit
from django_simpletask3.queue.messages import build_message
from django_simpletask3.worker import pipeline as pipeline_module
from django_simpletask3.worker.fetcher import Fetcher
from django_simpletask3.worker.finisher import Finisher, Outcomes
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.loop import StopRequest
from django_simpletask3.worker.node.counters import Counters
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.limits.steps import start
from tests.steps import create_task
from tests.testapp.models import Errand, Invoice

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


@pytest.mark.once
def test_what_is_claimed_is_begun_in_the_order_of_its_claim(
    transactional_db: None, redis_url: str
) -> None:
    """A task with a priority goes before the next claim, not before what was claimed."""
    pipeline = ModelPipeline(Invoice, threads=3, worker="node:1")
    fetcher = Fetcher(pipeline, Leases("node:1"), StopRequest(), burst=True)
    low = [create_task(Invoice, priority=-priority) for priority in (3, 2, 1)]
    fetcher.step()
    high = create_task(Invoice, priority=100)
    perform(pipeline, seconds=0.01)  # now there is capacity for more

    while pipeline.held < 5:
        fetcher.step()

    begun = [pipeline.inbox.get_nowait().task.pk for _ in range(5)]
    assert begun[:3] == [task.pk for task in reversed(low)]
    assert begun[4] == high.pk  # after that of perform()


@pytest.mark.once
def test_while_redis_is_away_tasks_of_the_highest_priority_start_first(
    transactional_db: None, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
    for priority in (-100, 0, 7, -1):
        create_task(Invoice, priority=priority)

    runs, *_ = start_from_table(
        Invoice, "default", 10, worker="w", lease=60, tried=TriedRows(), only_overdue=True
    )

    assert [run.task.priority for run in runs] == [7, 0, -1, -100]


def test_after_a_limit_was_reached_tasks_are_claimed_for_free_threads_only() -> None:
    pipeline = ModelPipeline(Errand, threads=4, worker="node:1")
    run = Run(create_task(Errand), pipeline.worker, seconds=0.0001)
    pipeline.accept([run])
    pipeline.mark_performed(run)
    assert pipeline.capacity(0) == 204

    pipeline.record_starts(claimed=4, started=3)

    assert pipeline.capacity(0) == 4


def test_more_messages_are_claimed_while_most_tasks_find_their_limit_reached() -> None:
    pipeline = ModelPipeline(Errand, threads=4, worker="node:1")
    extra = []

    for claimed, started in [(4, 1), (12, 0), (100, 0), (100, 0), (100, 0), (100, 60)]:
        pipeline.record_starts(claimed, started)
        extra.append(pipeline.extra)

    assert extra == [8, 16, 32, 64, 100, 0]


def test_of_a_model_without_a_limit_no_more_are_claimed(pipeline_of_four: ModelPipeline) -> None:
    pipeline_of_four.record_starts(claimed=4, started=0)

    assert pipeline_of_four.extra == 0


@pytest.fixture
def idle_pipeline() -> ModelPipeline:
    """A pipeline with one free thread, whose fetcher has found no message."""
    pipeline = ModelPipeline(Errand, threads=1, worker="node:1")
    with pipeline.looking():
        pass
    return pipeline


def test_a_free_thread_is_reserved_once(idle_pipeline: ModelPipeline) -> None:
    assert idle_pipeline.reserve_thread()
    assert not idle_pipeline.reserve_thread()
    assert idle_pipeline.reserved == 1
    assert idle_pipeline.capacity(0) == 0

    idle_pipeline.give_back_threads(1)

    assert idle_pipeline.reserved == 0
    assert idle_pipeline.capacity(0) == 1


def test_a_reserved_thread_is_taken_by_the_task_that_it_was_reserved_for(
    idle_pipeline: ModelPipeline,
) -> None:
    idle_pipeline.reserve_thread()
    run = Run(create_task(Errand), idle_pipeline.worker)

    idle_pipeline.accept_reserved([run], 1)

    assert idle_pipeline.drain_inbox() == [run]
    assert (idle_pipeline.held, idle_pipeline.reserved) == (1, 0)


@pytest.mark.parametrize("name", ["is_stopping", "is_paused"])
def test_a_process_that_claims_no_more_reserves_no_thread(
    idle_pipeline: ModelPipeline, name: str
) -> None:
    setattr(idle_pipeline, name, lambda: True)

    assert not idle_pipeline.reserve_thread()


def test_tasks_that_have_messages_come_first(idle_pipeline: ModelPipeline) -> None:
    with idle_pipeline.looking() as found:
        found.append(build_message("channel", "node:1", [b"id", b"claim", b"", 1, 0, 0]))

    assert not idle_pipeline.reserve_thread()


def test_a_look_that_waits_for_messages_has_found_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = ModelPipeline(Errand, threads=1, worker="node:1")

    with pipeline.looking():
        assert not pipeline.reserve_thread()
        monkeypatch.setattr(pipeline_module, "_LOOK_SECONDS", -1.0)
        assert pipeline.reserve_thread()


def test_the_next_task_of_a_limit_begins_when_the_outcome_of_one_is_recorded(
    transactional_db: None, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(1, key="{customer}"))
    pipeline, leases = ModelPipeline(Errand, threads=1, worker="node:1"), Leases("node:1")
    finisher = Finisher(Outcomes(pipeline, leases, Counters()))
    finisher.start()
    tasks = [create_task(Errand, customer="a") for _ in range(2)]
    Fetcher(pipeline, leases, StopRequest(), burst=True).step()
    with pipeline.looking():
        pass
    [first] = pipeline.drain_inbox()
    assert start(tasks[1]) is None

    perform_run(first)
    pipeline.mark_performed(first)

    run = pipeline.inbox.get(timeout=30)
    assert run is not None
    assert run.task == tasks[1]
    assert (run.message, run.is_worker_stopping) == (None, pipeline.is_stopping)
    assert eventually(lambda: leases.running() == [run])
    assert pipeline.held == 1
    pipeline.close_outboxes()
    finisher.join(timeout=30)

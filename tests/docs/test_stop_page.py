"""The page about stopping: its task functions stop as it says."""

from collections.abc import Callable
from typing import Any

import pytest

from django_simpletask3.exceptions import StopReason
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.ledger.stop_signal import request_stop
from django_simpletask3.states import Status
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.docs.test_how_to import how_to
from tests.steps import bring_to, create_task, kinds, row_of, status_of
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER, start_waiting

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = how_to("stop-running-tasks")
Hook = Callable[[Any, int], object]


def run_block(containing: str, **names: Any) -> dict[str, Any]:
    """What a block of the page defines; its Import is an Invoice, and the page its amount."""
    code = PAGE.block("python", containing).replace("next_page", "amount")
    for line in ("from app.suppliers import import_page", "from app.models import Import"):
        code = code.replace(line, "")
    code = code.replace("class Import(SimpleTask)", "class Import")
    exec(compile(code, "page", "exec"), names)
    return names


@pytest.fixture
def run_import(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Run an import; ``after_page`` is called with the task and the page it has imported."""

    def run_import(function: Any, after_page: Hook = lambda task, page: None) -> Run:
        [run] = start_waiting(ModelPipeline(Invoice, 1, WORKER))
        functions = function(import_page=lambda page: after_page(run.task, page))
        monkeypatch.setattr(Invoice, "do_task", functions)
        perform(run)
        finish([run])
        return run

    return run_import


def looking(**names: Any) -> Any:
    return run_block("class Import", **names)["Import"].do_task


def leaving(**names: Any) -> Any:
    return run_block("is_worker_stopping", **names)["do_task"]


def stop_at(reason: StopReason, last: int) -> Hook:
    return lambda task, page: page == last and request_stop(task, reason)


def cancel_at(last: int) -> Hook:
    def hook(task: Any, page: int) -> None:
        if page == last:
            Invoice.objects.get(pk=task.pk).cancel("not needed")
            request_stop(task, StopReason.CANCELED)

    return hook


@pytest.mark.parametrize("function", [looking, leaving])
def test_an_import_that_is_not_stopped_imports_all_pages(run_import: Any, function: Any) -> None:
    Invoice.objects.create(amount=1)

    run = run_import(function)

    assert (run.task.result_data, row_of(run.task).amount) == ("all pages imported", 101)


def test_an_import_goes_on_where_its_worker_stopped(run_import: Any) -> None:
    task = Invoice.objects.create(amount=1)
    pages: list[int] = []

    run_import(looking, stop_at(StopReason.WORKER_STOPPING, 7))
    run_import(looking, lambda task, page: pages.append(page))

    assert pages == list(range(8, 101))
    assert kinds(task) == ["enqueue", "start", "release", "start", "ack"]


def test_an_import_that_is_canceled_ends_and_saves_nothing(run_import: Any) -> None:
    task = Invoice.objects.create(amount=1)

    run_import(looking, cancel_at(7))

    assert kinds(task) == ["enqueue", "start", "cancel"]
    assert row_of(task).amount == 1


def test_an_import_leaves_early_when_its_worker_stops(run_import: Any) -> None:
    task = Invoice.objects.create(amount=1)

    def ask_worker_to_stop(task: Any, page: int) -> None:
        task._running_attempt.is_worker_stopping = lambda: page >= 7

    run_import(leaving, ask_worker_to_stop)

    assert kinds(task) == ["enqueue", "start", "release"]
    assert row_of(task).amount == 8


def test_many_are_stopped_and_run_again(redis_url: str) -> None:
    waiting, failed = create_task(Invoice, amount=1), bring_to(create_task(Invoice), Status.FAILED)
    finished = bring_to(create_task(Invoice, amount=1), Status.SUCCESS)

    run_block("failed().reset", Import=Invoice)

    assert [status_of(task) for task in (waiting, failed, finished)] == [
        Status.CANCELED,
        Status.PENDING,
        Status.SUCCESS,
    ]


def test_a_canceled_task_is_canceled_by_force(redis_url: str) -> None:
    task = bring_to(create_task(Invoice), Status.CANCELED)

    run_block("force=True", task=task)

    assert task.events.last().data["forced"] is True

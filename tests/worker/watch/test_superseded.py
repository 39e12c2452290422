"""The look for runs that have lost their tasks: what it finds, and what it costs."""

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from django_simpletask3.exceptions import StopReason
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.ledger.stop_signal import request_stop
from django_simpletask3.states import EventKind
from django_simpletask3.worker.pipeline import ModelPipeline
from django_simpletask3.worker.task_thread import TaskThread
from django_simpletask3.worker.watch.superseded import SupersededRuns
from tests.redis_servers import RedisServer
from tests.steps import apply_kinds, create_task, kinds, label_of
from tests.testapp import models as testapp
from tests.testapp.models import Elsewhere, Invoice, Ledger, Scripted, TextKeyed
from tests.worker.steps import WORKER, start_waiting

#: One for each kind of key, and of table.
MODELS = [
    Invoice,
    testapp.ForeignInvoice,
    testapp.PaidInvoice,
    testapp.UuidKeyed,
    TextKeyed,
    testapp.Numbered,
    testapp.Secret,
    testapp.Ticket,
    Elsewhere,
]
OLD = 10.0  # seconds since a run was claimed


@pytest.fixture(autouse=True)
def servers(transactional_db: None, redis_url: str) -> None:
    """Every test here has the databases and a Redis."""


def started(model: Any, count: int = 1, age: float = OLD) -> list[Run]:
    """The runs of new tasks of ``model``, claimed some seconds ago."""
    for _ in range(count):
        create_task(model)
    runs = start_waiting(ModelPipeline(model, 1, WORKER))
    for run in runs:
        run.claimed_monotonic -= age
    return runs


def other(run: Run) -> Any:
    """The task of ``run``, as another process has loaded it."""
    return type(run.task)._base_manager.using(run.using).get(pk=run.pk)


def looking_at(*runs: Run) -> SupersededRuns:
    return SupersededRuns(WORKER, lambda: list(runs))


def statements_of(look: SupersededRuns) -> tuple[int, int]:
    """How many statements a step sends to each of the two databases."""
    with (
        CaptureQueriesContext(connections["default"]) as first,
        CaptureQueriesContext(connections["other"]) as second,
    ):
        look.step()
    return len(first), len(second)


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_a_canceled_run_is_found_whatever_its_key(model: Any) -> None:
    canceled, kept = started(model, 2)
    other(canceled).cancel()

    looking_at(canceled, kept).step()

    assert [run.task.stop_reason for run in (canceled, kept)] == ["canceled", None]
    assert [run.task.should_stop for run in (canceled, kept)] == [True, False]


def reset(run: Run) -> None:
    other(run).reset()


def reset_and_cancel_the_next_attempt(run: Run) -> None:
    apply_kinds(other(run), EventKind.RESET, EventKind.START, worker="node:2:other")
    other(run).cancel()


def recover(run: Run) -> None:
    apply_kinds(other(run), EventKind.RECOVER)


def recover_and_start_elsewhere(run: Run) -> None:
    apply_kinds(other(run), EventKind.RECOVER, EventKind.START, worker="node:2:other")


def delete(run: Run) -> None:
    other(run).delete()


@pytest.mark.parametrize(
    "lose",
    [reset, reset_and_cancel_the_next_attempt, recover, recover_and_start_elsewhere, delete],
)
def test_a_run_that_has_lost_its_task_is_superseded(lose: Any) -> None:
    [run] = started(Invoice)
    lose(run)

    looking_at(run).step()

    assert run.task.stop_reason == "superseded"


def test_all_runs_are_looked_at_in_one_statement_for_each_database() -> None:
    runs = [*started(Invoice, 3), *started(Ledger, 2), *started(TextKeyed), *started(Elsewhere, 2)]

    assert statements_of(looking_at(*runs)) == (1, 1)


def test_the_next_look_is_a_second_later() -> None:
    [run] = started(Invoice)
    look = looking_at(run)

    rest = look.step()

    assert 0.8 < rest < 1.0
    assert statements_of(look) == (0, 0)


@pytest.mark.parametrize("age", [0.0, 0.5])
def test_short_functions_cost_no_statement(age: float) -> None:
    runs = started(Invoice, 3, age=age)
    look = looking_at(*runs)

    assert statements_of(look) == (0, 0)
    assert look.step() < 1.0 - age


def test_a_process_without_runs_sends_no_statement() -> None:
    assert statements_of(looking_at()) == (0, 0)


def test_a_younger_run_is_looked_at_with_an_old_one() -> None:
    # Else it would be looked at for the first time when it is nearly two seconds old.
    [old], [young] = started(Invoice), started(Ledger, age=0.2)
    other(young).cancel()

    looking_at(old, young).step()

    assert young.task.stop_reason == "canceled"


def test_a_function_that_has_ended_is_not_looked_at() -> None:
    [run] = started(Invoice)
    look = looking_at(run)
    perform(run)

    assert statements_of(look) == (0, 0)
    finish([run])
    assert run.task.stop_reason is None


def test_a_run_that_has_lost_its_task_is_not_looked_at_again() -> None:
    [run] = started(Invoice)
    other(run).reset()
    looking_at(run).step()

    assert statements_of(looking_at(run)) == (0, 0)


def test_a_database_that_fails_hides_no_cancel_in_another() -> None:
    [here], [there] = started(Invoice), started(Elsewhere)
    other(here).cancel()
    other(there).cancel()
    look = looking_at(here, there)

    def refuse(*_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with connections["other"].execute_wrapper(refuse):
        look.step()

    assert (here.task.stop_reason, there.task.stop_reason) == ("canceled", None)
    looking_at(there).step()
    assert there.task.stop_reason == "canceled"


def test_a_cancel_is_found_without_redis(own_redis_server: RedisServer) -> None:
    [run] = started(Invoice)
    own_redis_server.kill()
    other(run).cancel()

    looking_at(run).step()

    assert run.task.stop_reason == "canceled"


def test_a_time_limit_does_not_hide_a_cancel() -> None:
    [run] = started(Invoice)
    request_stop(run.task, StopReason.TIME_LIMIT)
    other(run).cancel()

    looking_at(run).step()

    assert run.task.stop_reason == "canceled"


def test_a_canceled_task_is_not_begun_after_its_wait_in_the_process(tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    Scripted.objects.create(script={"do": "wait", "path": str(go)})
    waiting = Scripted.objects.create(script={"do": "touch", "path": str(begun)})
    pipeline = ModelPipeline(Scripted, 1, WORKER)
    runs = start_waiting(pipeline)
    for run in runs:
        run.claimed_monotonic -= OLD
    pipeline.accept(runs)
    thread = TaskThread(pipeline, 0)
    thread.start()

    Scripted.objects.get(pk=waiting.pk).cancel()
    looking_at(*runs).step()
    go.touch()
    pipeline.inbox.put(None)
    thread.join(timeout=30)
    performed = pipeline.next_batch("default") or []
    finish(performed)

    assert len(performed) == 2
    assert not begun.exists()
    assert kinds(waiting) == ["enqueue", "start", "cancel"]


def looks(run: Run, number: int) -> bool:
    """Whether so many looks at ``run``, whose function goes on, find that it must be ended."""
    for _ in range(number):
        with run.function_call:
            looking_at(run).step()
    return run.is_ended


def test_a_function_that_is_canceled_by_force_is_ended_if_it_goes_on() -> None:
    [run] = started(Invoice)
    other(run).cancel("now", force=True)

    assert not looks(run, 1)  # it has a second to stop by itself
    assert run.task.stop_reason == "canceled"
    assert looks(run, 1)


def test_a_function_that_is_canceled_is_not_ended() -> None:
    [run] = started(Invoice)
    other(run).cancel("please")
    other(run).note("a remark")

    assert not looks(run, 3)


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_a_function_that_was_canceled_in_vain_is_ended(model: Any) -> None:
    canceled, kept = started(model, 2)
    other(canceled).cancel("please")
    looks(canceled, 2)
    other(canceled).cancel("now", force=True)
    other(canceled).note("what else?")

    assert looks(canceled, 1)
    assert not looks(kept, 1)


def test_a_forced_cancel_of_an_earlier_attempt_ends_nothing() -> None:
    [run] = started(Invoice)
    other(run).cancel("now", force=True)
    apply_kinds(other(run), EventKind.RESET, EventKind.START, worker=WORKER)
    again = Run(other(run), WORKER)
    again.claimed_monotonic -= OLD
    other(again).cancel("please")

    assert not looks(again, 2)


def test_what_a_canceled_function_costs() -> None:
    [run] = started(Invoice)
    other(run).cancel("please")
    with run.function_call:
        looking_at(run).step()

        assert statements_of(looking_at(run, *started(Ledger))) == (1, 0)
        assert run.task.should_stop
    # It has not begun, or has ended.
    assert statements_of(looking_at(run)) == (0, 0)

"""An idle fetcher records the outcome of a lone task itself, in the session that started it."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from django_simpletask3.signals import task_succeeded
from django_simpletask3.states import Status
from django_simpletask3.worker import fetcher as fetcher_module
from django_simpletask3.worker import finisher as finisher_module
from django_simpletask3.worker import pipeline as pipeline_module
from django_simpletask3.worker.databases import starts as starts_module
from django_simpletask3.worker.fetcher import Fetcher
from django_simpletask3.worker.finisher import Outcomes
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.loop import StopRequest
from django_simpletask3.worker.node.counters import Counters
from django_simpletask3.worker.pipeline import ModelPipeline
from django_simpletask3.worker.task_thread import TaskThread
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER

pytestmark = pytest.mark.django_db(transaction=True)


class Node:
    """A fetcher and a task thread, without a finisher."""

    def __init__(self) -> None:
        self.pipeline = ModelPipeline(Invoice, 1, WORKER)
        self.leases, self.counters = Leases(WORKER), Counters()
        outcomes = Outcomes(self.pipeline, self.leases, self.counters)
        self.fetcher = Fetcher(
            self.pipeline, self.leases, StopRequest(), burst=False, outcomes=outcomes
        )
        self.thread = TaskThread(self.pipeline, 0)
        self.thread.start()

    def left_to_the_finisher(self) -> int:
        """How many runs the task thread has ended that are not recorded."""
        self.pipeline.inbox.put(None)
        self.thread.join(timeout=30)
        return self.pipeline.outbox_of("default").qsize()


@pytest.fixture
def node(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node that counts as idle, and waits as long as it takes."""
    monkeypatch.setattr(fetcher_module, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(pipeline_module, "_AWAIT_SECONDS", 30.0)
    node = Node()
    yield node
    node.pipeline.inbox.put(None)
    node.fetcher.stop_waiting()


def test_a_lone_task_is_recorded_by_the_fetcher(node: Node) -> None:
    task = Invoice.objects.create()

    node.fetcher.step()

    assert kinds(task) == ["enqueue", "start", "ack"]
    assert (node.left_to_the_finisher(), node.pipeline.held, node.leases.running()) == (0, 0, [])
    assert node.counters.read()["succeeded"] == 1


def test_the_function_of_a_lone_task_has_its_own_thread(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    monkeypatch.setattr(
        Invoice, "do_task", lambda self: threads.append(threading.current_thread().name)
    )
    Invoice.objects.create()

    node.fetcher.step()

    assert threads == [node.thread.name]


def test_several_tasks_are_left_to_the_finisher(node: Node) -> None:
    node.pipeline.threads = 2
    Invoice.objects.bulk_create([Invoice(), Invoice()])

    node.fetcher.step()

    assert node.left_to_the_finisher() == 2


def test_a_task_that_was_not_waited_for_is_left_to_the_finisher(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher_module, "_IDLE_SECONDS", 60.0)
    Invoice.objects.create()

    node.fetcher.step()

    assert node.left_to_the_finisher() == 1


def test_a_task_of_one_of_several_databases_is_left_to_its_finisher(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may hang, and the fetcher would claim nothing for the others meanwhile."""
    monkeypatch.setattr(starts_module, "possible_databases", lambda model: ["default", "second"])
    task = Invoice.objects.create()

    node.fetcher.step()

    eventually(lambda: status_of(task) == Status.RUNNING)
    assert node.left_to_the_finisher() == 1


def test_a_task_with_receivers_is_left_to_the_finisher(node: Node, listen: Any) -> None:
    """They may take long, and the fetcher would claim nothing meanwhile."""
    listen(lambda **_: None, task_succeeded)
    Invoice.objects.create()

    node.fetcher.step()

    assert node.left_to_the_finisher() == 1


def test_a_failure_is_left_to_the_finisher(node: Node) -> None:
    """It is logged with its traceback, by handlers that may take long."""
    Invoice.objects.create(fails=True)

    node.fetcher.step()

    assert node.left_to_the_finisher() == 1


def test_a_recorded_task_is_not_recorded_again_if_its_log_fails(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Any) -> None:
        raise ValueError("a filter of the log")

    monkeypatch.setattr(finisher_module, "log_outcome", fail)
    task = Invoice.objects.create()

    with pytest.raises(ValueError, match="filter"):
        node.fetcher.step()

    assert kinds(task) == ["enqueue", "start", "ack"]
    assert (node.left_to_the_finisher(), node.pipeline.held, node.leases.running()) == (0, 0, [])


def test_a_task_that_lasts_is_left_to_the_finisher(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "_AWAIT_SECONDS", 0.001)
    may_end = threading.Event()
    monkeypatch.setattr(Invoice, "do_task", lambda self: may_end.wait(30))
    task = Invoice.objects.create()

    node.fetcher.step()

    assert (status_of(task), len(node.leases.running())) == (Status.RUNNING, 1)
    may_end.set()
    assert node.left_to_the_finisher() == 1


def test_no_task_is_awaited_after_some_that_have_lasted(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(Invoice, "do_task", lambda self: may_end.wait(30))
    monkeypatch.setattr(pipeline_module, "_AWAIT_SECONDS", 0.0)
    Invoice.objects.create()
    node.fetcher.step()
    may_end.set()
    eventually(lambda: node.pipeline.held == 0)
    monkeypatch.setattr(pipeline_module, "_AWAIT_SECONDS", 1e-9)
    Invoice.objects.create()

    node.fetcher.step()

    assert node.left_to_the_finisher() == 2


@pytest.mark.parametrize("error", [OperationalError("gone"), SystemExit()], ids=repr)
def test_an_outcome_that_the_fetcher_cannot_record_is_left_to_the_finisher(
    node: Node, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(finisher_module, "finish", refuse)
    task = Invoice.objects.create()

    node.fetcher.step()

    assert status_of(task) == Status.RUNNING
    assert len(node.leases.running()) == 1
    assert node.left_to_the_finisher() == 1


def test_an_unexpected_error_leaves_the_outcome_to_the_finisher(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(finisher_module, "_try_finish", fail)
    Invoice.objects.create()

    with pytest.raises(ZeroDivisionError):
        node.fetcher.step()

    assert node.left_to_the_finisher() == 1


def test_a_start_that_fails_after_its_commit_loses_no_outcome(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(node.pipeline, "record_starts", fail)
    task = Invoice.objects.create()

    with pytest.raises(ZeroDivisionError):
        node.fetcher.step()

    assert kinds(task) == ["enqueue", "start", "ack"]

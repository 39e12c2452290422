"""Retries, snoozes and cancels in real worker processes."""

import os
import signal
import threading

import pytest
import redis

from django_simpletask3.states import Status
from django_simpletask3.worker.pipeline import ModelPipeline
from django_simpletask3.worker.task_thread import TaskThread
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Invoice, Scripted
from tests.worker.conftest import Start
from tests.worker.steps import start_waiting


def test_the_backoff_is_called_in_the_thread_of_the_task_function(
    pipeline: ModelPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def note_thread(*_: object) -> float:
        threads.append(threading.current_thread().name)
        return 0

    def body(task: Invoice) -> None:
        note_thread()
        raise OSError

    monkeypatch.setattr(Invoice, "do_task", body)
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)
    monkeypatch.setattr(Invoice, "django_simpletask3_retry_backoff", note_thread)
    Invoice.objects.create()
    pipeline.accept(start_waiting(pipeline))
    pipeline.inbox.put(None)

    thread = TaskThread(pipeline, 0)
    thread.start()
    thread.join(timeout=30)

    assert threads == [thread.name] * 2


def test_a_backoff_that_does_not_return_delays_no_outcome_of_another_task(
    pipeline: ModelPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, may_return = threading.Event(), threading.Event()

    def wait(*_: object) -> float:
        called.set()
        may_return.wait(30)
        return 0

    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)
    monkeypatch.setattr(Invoice, "django_simpletask3_retry_backoff", wait)
    Invoice.objects.create(fails=True)
    runs = start_waiting(pipeline)
    Invoice.objects.create()
    runs += start_waiting(pipeline)
    pipeline.accept(runs)
    for _ in range(2):
        pipeline.inbox.put(None)
    threads = [TaskThread(pipeline, index) for index in range(2)]

    for thread in threads:
        thread.start()
    called.wait(30)
    first = eventually(lambda: pipeline.next_batch("default", timeout=0.1))
    may_return.set()
    for thread in threads:
        thread.join(timeout=30)

    assert [run.pk for run in first or []] == [runs[1].pk]
    assert [run.transition and run.transition.kind for run in runs] == ["retry", "ack"]


@pytest.mark.thorough
def test_a_snoozed_task_survives_its_node_and_redis(
    start_server: Start, redis_client: "redis.Redis[bytes]"
) -> None:
    steps = [{"do": "ask", "request": "Snooze", "after": 2, "attempt": 1}, {"do": "value"}]
    task = Scripted.objects.create(script=steps)
    node = start_server("--models", "testapp.Scripted")
    eventually(lambda: kinds(task)[-1] == "snooze")

    os.killpg(node.pid, signal.SIGKILL)
    redis_client.flushall()
    for _ in range(2):
        start_server("--models", "testapp.Scripted")
    eventually(lambda: status_of(task) == Status.SUCCESS)

    first, second = task.events.filter(kind="start")
    assert kinds(task) == ["enqueue", "start", "snooze", "start", "ack"]
    assert (second.event_time - first.event_time).total_seconds() >= 2


@pytest.mark.thorough
def test_a_node_runs_a_snoozed_task_again_and_cancels_one_that_asks_for_it(
    start_server: Start,
) -> None:
    steps = [
        {"do": "ask", "request": "Snooze", "after": 0, "attempt": 1},
        {"do": "ask", "request": "Snooze", "after": 1, "attempt": 2},
        {"do": "ask", "request": "Cancel"},
    ]
    task = Scripted.objects.create(script=steps)

    start_server("--models", "testapp.Scripted")
    eventually(lambda: status_of(task) == Status.CANCELED)

    assert kinds(task) == ["enqueue", *["start", "snooze"] * 2, "start", "cancel"]
    assert task.events.last().reason == "as written"

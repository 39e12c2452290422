"""``current_task()`` is the task whose function is running, also in its threads and coroutines."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_simpletask3.context import current_task
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.states import EventKind, Status
from tests.steps import bring_to, create_task
from tests.testapp.models import ByCallable, Invoice, Keyworded

pytestmark = pytest.mark.django_db


def run_of(task: Any) -> Run:
    return Run(bring_to(task, Status.RUNNING), "w1")


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Run]:
    """Perform a task whose function is this one."""

    def perform_with(function: Any) -> Run:
        monkeypatch.setattr(Invoice, "do_task", function)
        run = run_of(create_task(Invoice))
        perform(run)
        return run

    return perform_with


def test_outside_of_a_task_function_there_is_none(performed: Any) -> None:
    before = current_task()

    performed(lambda self: 1 / 0)

    assert (before, current_task()) == (None, None)


def test_it_is_the_instance_of_the_task_function(performed: Any) -> None:
    found: list[Any] = []

    run = performed(lambda self: found.append((self, current_task())))

    assert [[run.task is task for task in tasks] for tasks in found] == [[True, True]]


def test_an_executor_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(
        ByCallable, "django_simpletask3_executor", lambda task: found.append(current_task())
    )
    run = run_of(create_task(ByCallable))

    perform(run)

    assert found == [run.task]


def test_a_task_within_a_task_has_its_own(performed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = run_of(create_task(Keyworded))
    found: list[Any] = []
    monkeypatch.setattr(Keyworded, "do_task", lambda self: found.append(current_task()))

    def function(self: Any) -> None:
        perform(inner)
        found.append(current_task())

    outer = performed(function)

    assert found == [inner.task, outer.task]


def test_threads_have_one_if_they_run_in_a_copy_of_the_context(performed: Any) -> None:
    found: list[Any] = []

    def function(self: Any) -> None:
        copied = contextvars.copy_context()
        for target in (lambda: copied.run(look), look):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    def look() -> None:
        found.append(current_task())

    run = performed(function)

    assert found == [run.task, None]


def test_coroutines_and_their_synchronous_parts_have_one(performed: Any) -> None:
    async def function(self: Any) -> list[bool]:
        tasks = [
            current_task(),
            await asyncio.to_thread(current_task),
            await sync_to_async(current_task)(),
            *await asyncio.gather(look()),
        ]
        return [task is self for task in tasks]

    async def look() -> Any:
        return current_task()

    run = performed(function)

    assert run.transition is not None
    assert (run.transition.kind, run.transition.result) == (EventKind.ACK, [True] * 4)

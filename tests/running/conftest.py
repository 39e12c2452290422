"""Task functions of the tests' own, performed in this process."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.states import EventKind
from tests.steps import apply_kinds, create_task, row_of
from tests.testapp.models import Invoice

WORKER = "node:1:token"

Perform = Callable[..., Run]


@pytest.fixture
def perform_function(monkeypatch: pytest.MonkeyPatch) -> Perform:
    """Start a task, a new one or ``task``, and call ``function`` as its task function."""

    def perform_with(function: Any, task: Any = None) -> Run:
        task = row_of(task or create_task(Invoice))
        monkeypatch.setattr(type(task), "do_task", function)
        run = Run(apply_kinds(task, EventKind.START, worker=WORKER), WORKER)
        perform(run)
        if isinstance(run.error, AssertionError | pytest.fail.Exception):
            raise run.error  # of the test, which is within the function
        return run

    return perform_with


def finished(run: Run) -> Any:
    """The task of ``run``, read again once the outcome is recorded."""
    assert finish([run]) == []
    return row_of(run.task)


def statements_of(work: Callable[[], object], using: str = "default") -> list[str]:
    """The first word of each statement that ``work`` has the database execute."""
    with CaptureQueriesContext(connections[using]) as captured:
        work()
    return [query["sql"].split()[0] for query in captured]

"""Fixtures of ``django_simpletask3.testing`` for pytest, with pytest-django."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..testing import RunResult, TaskClock, TaskWorker

# The package is imported in fixtures: pytest loads this module before Django is set up.


@pytest.fixture
def run_tasks(db: None) -> Callable[..., RunResult]:
    """The function ``run_tasks()``, with the database of ``pytest-django``."""
    from ..testing import run_tasks

    return run_tasks


@pytest.fixture
def eager_tasks(db: None) -> Iterator[None]:
    """Tasks run when they are saved, as within ``eager_tasks()``."""
    from ..testing import eager_tasks

    with eager_tasks():
        yield


@pytest.fixture
def captured_events(db: None) -> Iterator[Sequence[Any]]:
    """The events that the test has recorded so far, as ``capture_events()`` yields them."""
    from ..testing import capture_events

    with capture_events() as events:
        yield events


@pytest.fixture
def task_clock() -> Iterator[Callable[..., TaskClock]]:
    """Sets the time as ``task_clock()`` does, until the test ends."""
    from ..testing import task_clock

    with ExitStack() as stack:
        yield lambda moment=None: stack.enter_context(task_clock(moment))


@pytest.fixture
def task_worker(transactional_db: None) -> Iterator[Callable[..., TaskWorker]]:
    """Starts a node as ``task_worker()`` does; it ends with the test."""
    from ..testing import task_worker

    with ExitStack() as stack:
        yield lambda *models, **options: stack.enter_context(task_worker(*models, **options))

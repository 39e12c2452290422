"""Tasks at several points of their lives, and what follows a commit."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_simpletask3.signals import SIGNALS, event_recorded, task_transitioned
from django_simpletask3.states import Status
from tests.core.lives import brought, saved
from tests.zoo.models import Invoice

Commit = Callable[..., contextlib.AbstractContextManager[Any]]


@pytest.fixture
def commit(django_capture_on_commit_callbacks: Any) -> Commit:
    """A block that ends with its commit, in a test that ends with a rollback."""

    def committed(using: str = "default") -> Any:
        return django_capture_on_commit_callbacks(using=using, execute=True)

    return committed


@pytest.fixture
def pending_task(db: None) -> Any:
    return saved(Invoice, amount=3)


@pytest.fixture
def running_task(pending_task: Any) -> Any:
    return brought(pending_task, Status.RUNNING)


@pytest.fixture
def finished_task(pending_task: Any) -> Any:
    return brought(pending_task, Status.SUCCESS)


@pytest.fixture
def listen() -> Iterator[Callable[..., None]]:
    """Connect a receiver to signals until the test is over."""
    connected: list[tuple[Any, Any]] = []

    def connect(receiver: Any, *signals: Any) -> None:
        for signal in signals:
            signal.connect(receiver, weak=False)
            connected.append((signal, receiver))

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


@pytest.fixture
def heard(listen: Callable[..., None]) -> list[tuple[Any, Any, Any, Any]]:
    """Every signal that was sent: (signal, sender, task, event)."""
    found: list[tuple[Any, Any, Any, Any]] = []

    def receiver(signal: Any, sender: Any, task: Any, event: Any, **_: Any) -> None:
        found.append((signal, sender, task, event))

    named = {signal for signals in SIGNALS.values() for signal in signals}
    listen(receiver, *named, task_transitioned, event_recorded)
    return found

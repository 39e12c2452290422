"""Subscribers for the duration of a test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_simpletask3.ledger.subscribers import unsubscribe
from django_simpletask3.subscriptions import subscribe

Follow = Callable[..., Any]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Subscribe a handler until the test ends."""
    names: list[str] = []

    def begin(name: str, handler: Any, models: Any, **options: Any) -> None:
        subscribe(name, models, **options)(handler)
        names.append(name)

    yield begin
    for name in names:
        unsubscribe(name)

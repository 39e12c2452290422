"""Task models with a retention of a microsecond."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.db import clock

Keep = Callable[..., None]

#: So old is everything that was done before.
OLD = timedelta(microseconds=1)
#: So old is nothing here.
YOUNG = timedelta(days=1)


@pytest.fixture(autouse=True)
def a_clock_that_does_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are old after a microsecond: two readings of a server's clock differ by more."""
    monkeypatch.setattr(clock, "calibrate", lambda using: False)


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Set the retention of a model until the test ends."""

    def declare(model: Any, rules: Any) -> None:
        monkeypatch.setattr(model, "django_simpletask3_retention", rules)

    return declare

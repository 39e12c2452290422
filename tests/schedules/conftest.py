"""A clock that is set by hand."""

import pytest

from tests.schedules.steps import HandClock


@pytest.fixture
def hand_clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)

"""Hints move the next due check of a process."""

import math
import weakref

import pytest

from django_simpletask3.worker.maintenance.due_hints import DueHints


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the steady clock, set by hand."""
    now = [1000.1]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_without_a_hint_there_is_no_check() -> None:
    assert DueHints().seconds_until_next() == math.inf


@pytest.mark.parametrize("seconds", [-1.0, -0.001, 15.1, math.inf, -math.inf, math.nan])
def test_a_time_that_is_past_or_far_away_is_no_hint(seconds: float) -> None:
    hints = DueHints()

    hints.add([seconds])

    assert hints.seconds_until_next() == math.inf


def test_a_check_follows_each_hint_by_a_quarter_of_a_second_at_most(passed: list[float]) -> None:
    hints = DueHints()
    hints.add([3.0, 1.0, 1.05, 1.1, 1.5])
    checks = []

    while (pause := hints.seconds_until_next()) < math.inf:
        passed[0] += pause
        checks.append(passed[0])
        hints.forget_past()

    assert checks == [1001.25, 1001.75, 1003.25]


def test_a_hint_that_comes_during_a_check_stays(passed: list[float]) -> None:
    hints = DueHints()
    hints.add([0.2])
    passed[0] += 1.0
    hints.forget_past()

    hints.add([0.2])

    assert 0.2 <= hints.seconds_until_next() <= 0.45


def test_an_exact_hint_is_followed_at_once(passed: list[float]) -> None:
    hints = DueHints()

    hints.add_exact(0.3)

    assert 0.3 <= hints.seconds_until_next() <= 0.326


class Sleeper:
    """Counts how often it is woken."""

    number = 0

    def wake(self) -> None:
        self.number += 1


def test_an_earlier_check_is_announced() -> None:
    sleeper = Sleeper()
    hints = DueHints(sleeper.wake)

    hints.add([5.0])
    hints.add([9.0])
    hints.add_exact(2.0)

    assert sleeper.number == 2


def test_who_is_woken_is_not_kept_alive() -> None:
    sleeper = Sleeper()
    gone = weakref.ref(sleeper)
    hints = DueHints(sleeper.wake)

    del sleeper
    hints.add([5.0])

    assert hints.seconds_until_next() <= 5.3
    assert gone() is None

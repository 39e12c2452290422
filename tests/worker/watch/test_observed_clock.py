"""Time in which a process was stopped does not count."""

from types import SimpleNamespace

import pytest

from django_simpletask3.worker.watch import observed_clock
from django_simpletask3.worker.watch.observed_clock import ObservedClock


class Time:
    """Monotonic time, and the processor time of the process."""

    def __init__(self) -> None:
        self.now = self.used = 100.0

    def pass_by(self, seconds: float, used: float = 0.0) -> None:
        self.now += seconds
        self.used += used


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    fake = SimpleNamespace(monotonic=lambda: passing.now, process_time=lambda: passing.used)
    monkeypatch.setattr(observed_clock, "time", fake)
    return passing


def test_of_a_stop_one_second_counts(passing: Time) -> None:
    clock, began = ObservedClock(), passing.now
    passing.pass_by(0.5)
    first = clock.tick()
    passing.pass_by(3600.0)
    second = clock.tick()

    assert (first, second) == (0.5, 1.0)
    assert clock.seconds_since(began) == 1.5
    assert clock.seconds_since(passing.now) == 0.0


def test_a_gap_in_which_the_process_computed_counts(passing: Time) -> None:
    clock, began = ObservedClock(), passing.now
    passing.pass_by(30.0, used=29.5)

    assert clock.tick() == 29.5
    assert clock.seconds_since(began) == 29.5

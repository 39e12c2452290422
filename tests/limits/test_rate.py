"""Limits of how many tasks start in a period."""

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.db import clock
from django_simpletask3.limits import Limit, offer
from django_simpletask3.limits.maintenance import delete_idle_gates, serve_limits
from django_simpletask3.limits.rate import Rate
from django_simpletask3.limits.tables import LimitGate, LimitPlace
from django_simpletask3.recovery.due_check import read_due_times
from django_simpletask3.testing import TaskClock
from django_simpletask3.worker.maintenance.due_hints import DueHints
from django_simpletask3.worker.maintenance.jobs import shared_schedule
from django_simpletask3.worker.maintenance.lease_monitor import LeaseMonitor
from django_simpletask3.worker.maintenance.snapshot import SharedSnapshot
from tests.limits.steps import are_limits_idle, end, errands, start, start_all, statuses, waiting
from tests.steps import row_of
from tests.testapp.models import Errand

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    count=st.integers(1, 60),
    unit=st.sampled_from([1, 60, 3600, 86400]),
    pauses=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 150)), max_size=5),
)
def test_no_period_has_more_starts_than_the_rate_says(
    count: int, unit: int, pauses: list[tuple[float, int]]
) -> None:
    rate, now, arrival, starts = Rate(count, unit), EPOCH, None, list[datetime]()
    for pause, number in pauses:
        now += timedelta(seconds=pause * unit)
        for _ in range(number):  # as soon as it may be
            now = max(now, rate.time_of(arrival, 1) or now)
            assert rate.allowed(arrival, now)
            arrival = rate.after_start(arrival, now)
            starts.append(now)

    ends = [moment + timedelta(seconds=unit) for moment in starts]
    assert all(bisect_left(starts, end) - n <= count for n, end in enumerate(ends))


@given(
    count=st.integers(1, 200),
    delays=st.lists(st.floats(0.0, 0.09), min_size=300, max_size=300),
)
def test_starts_that_are_a_little_late_reach_nine_tenths_of_the_rate(
    count: int, delays: list[float]
) -> None:
    rate, arrival, starts = Rate(count, 1), None, list[datetime]()
    for delay in delays:
        due = rate.time_of(arrival, 1) or EPOCH
        now = max([due + timedelta(seconds=delay), *starts[-1:]])
        assert rate.allowed(arrival, now)
        arrival = rate.after_start(arrival, now)
        starts.append(now)

    seconds = (starts[-1] - starts[0]).total_seconds()

    assert seconds <= 300 / (0.9 * count) + 0.2


def test_a_start_is_allowed_at_the_time_that_was_named_and_not_before() -> None:
    rate, arrival = Rate.parse("100/m"), None
    for _ in range(rate.burst):
        arrival = rate.after_start(arrival, EPOCH)

    moment = rate.time_of(arrival, 1)

    assert moment is not None
    assert rate.allowed(arrival, EPOCH) == 0
    assert rate.allowed(arrival, moment - timedelta(microseconds=1)) == 0
    assert rate.allowed(arrival, moment) == 1


@pytest.mark.parametrize("value", ["100", "0/m", "-1/m", "1.5/s", "1/w", "10 / m", 7])
def test_a_rate_that_is_none_is_refused_where_it_is_written(value: Any) -> None:
    with pytest.raises(ValueError, match="rate is "):
        Limit(rate=value)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="running is None"):
        Limit(key="{customer}")


class Starts:
    """The time, which passes by ``wait`` only: with a rate of 11 a minute, two start at once."""

    def __init__(self, clock: TaskClock) -> None:
        self._clock = clock

    def wait(self, seconds: float) -> None:
        """Let that time pass, and the maintenance job look."""
        self._clock.shift(seconds)
        serve_limits("default", self._clock.now, 10.0)


class Hints(DueHints):
    """Hints that remember what they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[float] = []

    def add_exact(self, seconds: float) -> None:
        self.added.append(seconds)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, task_clock: Any, request: Any) -> Starts:
    limit = getattr(request, "param", Limit(key="{customer}", rate="11/m"))
    monkeypatch.setattr(Errand, "django_simpletask3_limit", limit)
    return Starts(task_clock())


@pytest.mark.django_db(transaction=True)
class TestStarts:
    """Tasks of a model with a rate: which start, which wait, and when these go on."""

    def test_the_third_task_waits_for_the_time(self, starts: Starts) -> None:
        tasks = errands(4)
        first, second = start_all(tasks)
        end(first)
        end(second)

        starts.wait(1)
        assert statuses(tasks) == ["SUCCESS", "SUCCESS", "BLOCKED", "BLOCKED"]

        starts.wait(6)
        assert statuses(tasks[2:]) == ["PENDING", "BLOCKED"]
        assert start(tasks[2]) is not None
        starts.wait(7)
        assert start(tasks[3]) is not None
        assert waiting() == []

    def test_a_task_that_was_let_go_on_and_starts_late_counts_when_it_starts(
        self, starts: Starts
    ) -> None:
        tasks = errands(5)
        start_all(tasks)
        starts.wait(30)
        assert statuses(tasks[2:]) == ["PENDING", "PENDING", "BLOCKED"]
        starts.wait(25)  # no worker has time for them

        begun = start_all(tasks[2:])

        assert len(begun) == 2
        assert statuses([tasks[4]]) == ["BLOCKED"]
        starts.wait(0)
        assert statuses([tasks[4]]) == ["BLOCKED"]

    def test_a_task_that_was_let_go_on_too_early_waits_again_and_holds_nothing(
        self, starts: Starts
    ) -> None:
        tasks = errands(3)
        start_all(tasks)
        starts.wait(7)
        assert statuses([tasks[2]]) == ["PENDING"]

        starts.wait(-2)  # by the clock of another node

        assert start(tasks[2]) is None
        assert not LimitPlace.objects.filter(worker="").exists()
        starts.wait(2)
        assert start(tasks[2]) is not None

    def test_no_newcomer_starts_before_one_that_was_let_go_on(self, starts: Starts) -> None:
        tasks = errands(3)
        start_all(tasks)
        starts.wait(7)

        [newcomer] = errands(1)

        assert start(newcomer) is None
        assert start(tasks[2]) is not None

    def test_the_due_check_names_the_time(self, starts: Starts) -> None:
        tasks = errands(3)
        start_all(tasks)

        times = read_due_times("default", [Errand])

        assert times.limit_time == LimitGate.objects.get().next_start_at
        assert not times.may_serve_limits
        starts.wait(7)
        start(tasks[2])
        starts.wait(7)
        assert read_due_times("default", [Errand]).limit_time is None

    def test_a_node_looks_again_at_the_time(self, starts: Starts) -> None:
        hints = Hints()
        monitor = LeaseMonitor(shared_schedule(), SharedSnapshot(), hints)
        start_all(errands(4))
        step = Rate.parse("11/m").step.total_seconds()
        monitor.check()
        assert hints.added[-1] == pytest.approx(step, abs=0.001)

        starts.wait(7)
        monitor.check()

        # The third may start now, and the fourth one step later.
        assert hints.added[-1] == pytest.approx(2 * step - 7, abs=0.001)

    def test_a_process_that_lets_a_task_wait_looks_again_at_the_time(
        self, starts: Starts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seconds_given: list[float] = []
        monkeypatch.setattr(offer, "_next_start_hooks", [])
        offer.call_before_next_start(seconds_given.append)

        start_all(errands(3))

        assert seconds_given == [pytest.approx(Rate.parse("11/m").step.total_seconds(), abs=0.001)]

    def test_those_that_wait_are_looked_at_again_if_all_that_may_start_have_not_yet(
        self, starts: Starts
    ) -> None:
        start_all(errands(5))
        starts.wait(30)

        assert (
            LimitGate.objects.get().next_start_at == clock.now("default") + Rate.parse("11/m").step
        )

    def test_a_task_says_when_it_may_start(self, starts: Starts) -> None:
        tasks = errands(4)
        start_all(tasks)

        assert (
            tasks[2]
            .explain()
            .startswith(
                "It is the next one that the rate of the limit testapp.Errand lets start, at "
            )
        )
        assert "behind 1 other task; the next one may start at" in tasks[3].explain()

    def test_what_was_not_claimed_goes_to_the_next_one(self, starts: Starts) -> None:
        tasks = errands(4)
        start_all(tasks)
        starts.wait(7)
        row_of(tasks[2]).cancel()

        starts.wait(0)

        assert statuses(tasks[2:]) == ["CANCELED", "PENDING"]

    def test_keys_have_rates_of_their_own(self, starts: Starts) -> None:
        errands(3, "a")
        others = errands(2, "b")

        start_all(Errand.objects.order_by("pk"))

        assert statuses(others) == ["RUNNING", "RUNNING"]

    def test_what_was_counted_is_kept_until_it_does_not_matter(self, starts: Starts) -> None:
        for run in start_all(errands(2)):
            end(run)

        assert delete_idle_gates("default") == 0
        starts.wait(13)
        assert delete_idle_gates("default") == 1
        assert are_limits_idle()

    @pytest.mark.parametrize("starts", [Limit(1, key="{customer}", rate="11/m")], indirect=True)
    def test_both_hold_if_there_are_both(self, starts: Starts) -> None:
        tasks = errands(4)
        [first] = start_all(tasks)
        starts.wait(30)
        assert statuses(tasks) == ["RUNNING", *["BLOCKED"] * 3]  # no place
        assert LimitGate.objects.get().next_start_at is None  # its end is what they wait for
        end(first)
        assert statuses(tasks[1:]) == ["PENDING", "BLOCKED", "BLOCKED"]
        second = start(tasks[1])
        assert second is not None
        assert LimitPlace.objects.get().number == 1
        end(second)
        third = start(tasks[2])
        assert third is not None
        end(third)
        assert statuses([tasks[3]]) == ["BLOCKED"]  # too many in this minute

        starts.wait(7)

        assert statuses([tasks[3]]) == ["PENDING"]

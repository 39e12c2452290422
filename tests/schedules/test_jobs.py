"""The maintenance jobs of schedules: reading again, and deleting what is old."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from django_simpletask3.models.each_database import one_after_the_other, run_by
from django_simpletask3.recovery.schedules import SchedulesJob, delete_all_old_ticks
from django_simpletask3.schedules.due import DueSchedules
from django_simpletask3.schedules.history import KEPT_TICKS
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from django_simpletask3.testing import TaskClock
from tests.schedules.steps import BEGIN, HOUR, fired, make_schedule, new_node, outcomes
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def test_a_process_reads_schedules_again_if_another_number_is_published(
    hand_clock: TaskClock,
) -> None:
    published = [1]
    node = SchedulesJob(60.0, lambda: published[0])
    node.run()
    make_schedule()
    hand_clock.shift(HOUR)
    assert node.needed_in() == float("inf")

    published[0] = 2
    assert node.needed_in() == 0
    node.run()

    assert (fired(), node.needed_in() > 200) == ([BEGIN + HOUR], True)


def test_an_unknown_number_is_no_change(hand_clock: TaskClock) -> None:
    published = [5]
    node = SchedulesJob(60.0, lambda: published[0])
    node.run()

    published[0] = 0

    assert node.needed_in() == float("inf")


def test_a_database_that_cannot_be_read_is_read_again_in_a_second(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SchedulesJob(60.0, lambda: 0)

    def fail(self: Any) -> int:
        raise DatabaseError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(DueSchedules, "load", fail)
        node.run()

    assert 0.5 < node.needed_in() <= 1.3


@pytest.mark.parametrize("step", ["_load", "_fire"])
@pytest.mark.parametrize("error", [None, RuntimeError("no")])
def test_a_database_that_hangs_or_raises_is_tried_again_in_a_second(
    hand_clock: TaskClock, step: str, error: Exception | None
) -> None:
    """A database that hangs is left out of the answers."""
    make_schedule()
    node = SchedulesJob(60.0, lambda: 0)
    if step == "_fire":
        node.run()
        hand_clock.shift(HOUR)

    def leave_out(work: Any, aliases: Any) -> dict[str, Any]:
        if error is not None and work.__name__ == step:
            raise error
        return {} if work.__name__ == step else one_after_the_other(work, aliases)

    with run_by(leave_out), suppress(RuntimeError):
        node.run()

    assert 0.5 < node.needed_in() <= 1.3


def test_a_thread_that_was_given_up_changes_nothing_that_is_read(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        make_schedule(f"s{number}")
    schedules = DueSchedules("default")
    seen: list[Any] = []
    wait = DueSchedules._wait

    def noted(self: DueSchedules, *arguments: Any) -> None:
        seen.append((self._waiting, len(self._waiting)))
        wait(self, *arguments)

    schedules.load()
    monkeypatch.setattr(DueSchedules, "_wait", noted)
    hand_clock.shift(HOUR)
    schedules.fire_due(60.0)
    schedules.load()

    assert [len(waiting) == number == 3 for waiting, number in seen] == [True] * 6


def test_a_run_ends_in_time_and_is_needed_again(hand_clock: TaskClock) -> None:
    for number in range(3):
        make_schedule(f"s{number}")
    node = SchedulesJob(-1.0, lambda: 0)
    hand_clock.shift(HOUR)

    assert (node.run(), node.needed_in() <= 0.3) == (0, True)


@pytest.fixture
def many_ticks(hand_clock: TaskClock) -> None:
    make_schedule()
    numbers = range(1, KEPT_TICKS + 31)
    ScheduleTick.objects.bulk_create(
        ScheduleTick(schedule="own", tick=BEGIN + n * HOUR, outcome="skipped" if n > 5 else "fired")
        for n in numbers
    )
    ScheduleTick.objects.create(schedule="other", tick=BEGIN, outcome="fired")
    hand_clock.shift((KEPT_TICKS + 31) * HOUR)


def test_the_newest_hundred_ticks_are_kept_and_the_last_that_was_fired(many_ticks: None) -> None:
    counts = [delete_all_old_ticks(), delete_all_old_ticks()]

    assert counts == [29, 0]
    assert fired() == [BEGIN + 5 * HOUR]
    assert ScheduleTick.objects.filter(schedule="own").count() == KEPT_TICKS + 1
    assert ScheduleTick.objects.filter(schedule="other").exists()


def test_what_was_run_now_is_counted_apart(hand_clock: TaskClock) -> None:
    make_schedule()
    hand_clock.shift(HOUR)
    new_node().run()
    ScheduleTick.objects.update(outcome="failed")
    moments = [hand_clock.now + n * SECOND for n in range(1, KEPT_TICKS + 6)]
    ScheduleTick.objects.bulk_create(
        ScheduleTick(schedule="own", tick=moment, outcome="run_now") for moment in moments
    )
    hand_clock.shift(HOUR / 2)

    assert delete_all_old_ticks() == 5
    new_node().run()

    assert outcomes()[0] == (BEGIN + HOUR, "failed")
    assert Invoice.objects.count() == 1


def test_ticks_of_the_future_do_not_count_instead_of_the_newest_ones(
    hand_clock: TaskClock,
) -> None:
    make_schedule()
    hand_clock.shift(HOUR)
    new_node().run()
    ScheduleTick.objects.update(outcome="failed")
    ahead = [hand_clock.now + n * HOUR for n in range(50, 160)]
    ScheduleTick.objects.bulk_create(
        ScheduleTick(schedule="own", tick=tick, outcome="skipped") for tick in ahead
    )

    delete_all_old_ticks()
    new_node().run()

    assert outcomes()[0] == (BEGIN + HOUR, "failed")
    assert Invoice.objects.count() == 1


def test_nothing_is_deleted_once_a_node_stops(many_ticks: None) -> None:
    assert delete_all_old_ticks(lambda: False) == 0


def test_old_ticks_of_a_removed_schedule_stay_until_they_are_too_many(many_ticks: None) -> None:
    Schedule.objects.all().delete()

    delete_all_old_ticks()

    assert ScheduleTick.objects.filter(schedule="own").count() == KEPT_TICKS + 1

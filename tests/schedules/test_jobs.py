"""The maintenance jobs of schedules: reading again, and deleting what is old."""

from typing import Any

import pytest
from django.db import DatabaseError

from django_simpletask3.recovery.schedules import SchedulesJob, delete_all_old_ticks
from django_simpletask3.schedules.due import DueSchedules
from django_simpletask3.schedules.history import KEPT_TICKS
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from tests.schedules.steps import BEGIN, HOUR, HandClock, fired, make_schedule

pytestmark = pytest.mark.django_db


def test_a_process_reads_schedules_again_if_another_number_is_published(
    hand_clock: HandClock,
) -> None:
    published = [1]
    node = SchedulesJob(60.0, lambda: published[0])
    node.run()
    make_schedule()
    hand_clock.go(HOUR)
    assert node.needed_in() == float("inf")

    published[0] = 2
    assert node.needed_in() == 0
    node.run()

    assert (fired(), node.needed_in() > 200) == ([BEGIN + HOUR], True)


def test_an_unknown_number_is_no_change(hand_clock: HandClock) -> None:
    published = [5]
    node = SchedulesJob(60.0, lambda: published[0])
    node.run()

    published[0] = 0

    assert node.needed_in() == float("inf")


def test_a_database_that_cannot_be_read_is_read_again_in_a_second(
    hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SchedulesJob(60.0, lambda: 0)

    def fail(self: Any) -> int:
        raise DatabaseError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(DueSchedules, "load", fail)
        node.run()

    assert 0.5 < node.needed_in() <= 1.3


def test_a_run_ends_in_time_and_is_needed_again(hand_clock: HandClock) -> None:
    for number in range(3):
        make_schedule(f"s{number}")
    node = SchedulesJob(-1.0, lambda: 0)
    hand_clock.go(HOUR)

    assert (node.run(), node.needed_in() <= 0.3) == (0, True)


@pytest.fixture
def many_ticks(hand_clock: HandClock) -> None:
    make_schedule()
    numbers = range(1, KEPT_TICKS + 31)
    ScheduleTick.objects.bulk_create(
        ScheduleTick(schedule="own", tick=BEGIN + n * HOUR, outcome="skipped" if n > 5 else "fired")
        for n in numbers
    )
    ScheduleTick.objects.create(schedule="other", tick=BEGIN, outcome="fired")


def test_the_newest_hundred_ticks_are_kept_and_the_last_that_was_fired(many_ticks: None) -> None:
    counts = [delete_all_old_ticks(), delete_all_old_ticks()]

    assert counts == [29, 0]
    assert fired() == [BEGIN + 5 * HOUR]
    assert ScheduleTick.objects.filter(schedule="own").count() == KEPT_TICKS + 1
    assert ScheduleTick.objects.filter(schedule="other").exists()


def test_nothing_is_deleted_once_a_node_stops(many_ticks: None) -> None:
    assert delete_all_old_ticks(lambda: False) == 0


def test_old_ticks_of_a_removed_schedule_stay_until_they_are_too_many(many_ticks: None) -> None:
    Schedule.objects.all().delete()

    delete_all_old_ticks()

    assert ScheduleTick.objects.filter(schedule="own").count() == KEPT_TICKS + 1

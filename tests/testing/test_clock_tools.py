"""``task_clock()`` together with time-machine and with freezegun."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import DEFAULT_DB_ALIAS, connection
from django.utils import timezone

from django_simpletask3.db import clock
from django_simpletask3.testing import run_tasks, task_clock
from tests.conftest import missing
from tests.steps import create_task, row_of, stream_of
from tests.testapp.models import Invoice, Reminder

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 27, 12, tzinfo=UTC)
ELSEWHEN = datetime(2031, 5, 6, 7, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Travel = Callable[[datetime], AbstractContextManager[Any]]


def travel_by_time_machine(moment: datetime) -> AbstractContextManager[Any]:
    return time_machine.travel(moment, tick=False)


def travel_by_freezegun(moment: datetime) -> AbstractContextManager[Any]:
    try:
        import freezegun
    except ImportError:
        missing("freezegun")
    return freezegun.freeze_time(moment)


@pytest.fixture(
    params=[travel_by_time_machine, travel_by_freezegun], ids=["time_machine", "freezegun"]
)
def travel(request: pytest.FixtureRequest) -> Travel:
    return request.param


@pytest.fixture(autouse=True)
def real_times() -> Iterator[None]:
    """No reading that was taken by a frozen wall clock is left for other tests."""
    before = dict(clock._readings)
    yield
    clock._readings.clear()
    clock._readings.update(before)
    clock._jumps.clear()
    assert abs(clock.utc_now(DEFAULT_DB_ALIAS) - datetime.now(UTC)) < HOUR


def enqueue() -> tuple[Any, Any]:
    """A task that is due, and one for in an hour."""
    return create_task(Invoice), create_task(Reminder, run_after=HOUR)


def test_within_their_block_it_begins_at_their_time(travel: Travel) -> None:
    clock.calibrate(DEFAULT_DB_ALIAS)

    with travel(NOON), task_clock() as moved:
        assert moved.now == timezone.now() == NOON
        task, later = enqueue()
        first = run_tasks().succeeded
        moved.shift(HOUR)
        second = run_tasks().succeeded

        assert (first, second, timezone.now()) == ([task], [later], NOON)
    assert row_of(later).done_time == NOON + HOUR


def test_within_their_block_of_the_present_it_begins_at_their_time(
    travel: Travel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the clock of a database server is a little ahead."""
    offset = time.time() - clock.steady()
    ahead = clock._Reading(clock.steady(), offset + 0.1, offset, 0.0, 0.0, is_local=False)
    monkeypatch.setitem(clock._readings, DEFAULT_DB_ALIAS, ahead)
    moment = datetime.now(UTC) - timedelta(seconds=0.05)

    with travel(moment), task_clock() as moved:
        assert moved.now == moment


def test_within_their_block_it_tells_the_time_of_tasks(travel: Travel) -> None:
    with travel(ELSEWHEN), task_clock(NOON) as moved:
        task, later = enqueue()
        moved.shift(HOUR)
        result = run_tasks()

    assert result.succeeded == [task, later]
    assert row_of(task).add_time == NOON
    assert [event.event_time for event in stream_of(later)] == [NOON, NOON + HOUR, NOON + HOUR]


def test_around_their_block_it_tells_the_time_of_tasks(travel: Travel) -> None:
    with task_clock(NOON) as moved:
        task, later = enqueue()
        with travel(ELSEWHEN):
            first = run_tasks()
            moved.shift(HOUR)
            second = run_tasks()
            assert clock.utc_now(DEFAULT_DB_ALIAS) == moved.now == NOON + HOUR

    assert (first.succeeded, first.left, second.succeeded) == ([task], [later], [later])
    assert row_of(later).done_time == NOON + HOUR


def test_both_are_moved_to_move_the_times_of_task_functions_too(
    travel: Travel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[datetime] = []
    monkeypatch.setattr(Reminder, "do_task", lambda self: seen.append(timezone.now()))

    with task_clock(NOON) as moved:
        create_task(Reminder, run_after=HOUR)
        moved.shift(HOUR)
        with travel(moved.now):
            run_tasks()

    assert seen == [NOON + HOUR]


def test_alone_they_move_the_clock_of_sqlite_only(travel: Travel) -> None:
    run_tasks()  # by now the clock of the server has been read
    _, later = enqueue()

    with travel(datetime.now(UTC) + DAY):
        result = run_tasks()

    assert (later in result.succeeded) == (connection.vendor == "sqlite")

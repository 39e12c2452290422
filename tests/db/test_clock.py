"""One clock for all machines: the database's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.states import Status
from tests.steps import bring_to, create_task, row_of, stream_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
SERVERS = {"postgresql", "mysql"}


@pytest.fixture(autouse=True)
def uncalibrated() -> Any:
    """No offset is known before, and none is left behind."""
    clock._offsets.clear()
    yield
    clock._offsets.clear()


def is_server() -> bool:
    return connections["default"].vendor in SERVERS


def test_before_it_is_calibrated_it_goes_by_this_machine() -> None:
    with time_machine.travel(NOON, tick=False):
        assert clock.now("default") == NOON
        assert clock.after("default", 90) == NOON + timedelta(seconds=90)


def test_once_calibrated_a_wrong_clock_of_this_machine_does_not_matter() -> None:
    true = datetime.now(UTC)

    with time_machine.travel(NOON):
        clock.calibrate("default")
        reported = clock.now("default")

    if is_server():
        assert abs(reported - true) < timedelta(seconds=10)
    else:
        assert reported - NOON < timedelta(seconds=10)


def test_calibration_is_one_question_to_a_server_and_none_to_a_file() -> None:
    with CaptureQueriesContext(connections["default"]) as asked:
        clock.calibrate("default")

    assert len(asked) == is_server()


def test_calibrating_one_database_leaves_the_others_alone() -> None:
    with time_machine.travel(NOON, tick=False):
        clock.calibrate("default")

        assert clock.now("other") == NOON


def test_without_time_zones_it_tells_local_time(settings: Any) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Shanghai"

    with time_machine.travel(NOON, tick=False):
        assert clock.now("default") == datetime(2031, 5, 6, 20)


def test_without_time_zones_a_task_lives_and_its_stream_holds(settings: Any) -> None:
    settings.USE_TZ = False
    task = create_task(Invoice)

    bring_to(task, Status.SUCCESS)

    row = row_of(task)
    assert row.done_time.tzinfo is None
    assert row.done_time == stream_of(task)[-1].event_time
    assert [
        e.expected_digest(p) for e, p in zip(stream_of(task), digests(task), strict=False)
    ] == digests(task)[1:]


def digests(task: Any) -> list[str]:
    return ["", *(event.digest for event in stream_of(task))]

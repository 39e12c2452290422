"""One clock for all machines: the database's."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_simpletask3.db import clock
from django_simpletask3.states import Status
from tests.steps import bring_to, create_task, row_of, stream_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
SERVERS = {"postgresql", "mysql"}


@pytest.fixture(autouse=True)
def uncalibrated() -> Any:
    """No reading is known before, and none is left behind."""
    for known in (clock._readings, clock._jumps):
        known.clear()
    yield
    for known in (clock._readings, clock._jumps):
        known.clear()


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


def test_a_reading_outlasts_the_wrong_clock_by_which_it_was_taken() -> None:
    if not is_server():
        pytest.skip("the clock of SQLite is that of this machine")

    with time_machine.travel(NOON):
        clock.calibrate("default")
    reported = clock.now("default")

    assert abs(reported - datetime.now(UTC)) < timedelta(seconds=10)


def test_a_process_that_never_reads_again_goes_by_this_machine_once_its_clock_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock.calibrate("default")
    later = clock.steady() + 600
    monkeypatch.setattr(clock, "steady", lambda: later)  # the wall clock did not go along

    assert abs(clock.now("default") - datetime.now(UTC)) < timedelta(seconds=10)


def test_a_clock_of_this_machine_that_was_set_is_a_reason_to_read_again() -> None:
    clock.refresh("default")
    began = clock.steady()
    before = clock.has_jumped_since("default", began)

    with time_machine.travel(NOON):
        seen = clock.has_jumped_since("default", began)
        with CaptureQueriesContext(connections["default"]) as asked:
            clock.refresh("default")
            clock.refresh("default")

    jump = clock.last_jump("default")
    assert (before, seen, len(asked)) == (False, True, is_server())
    assert (jump is None) == is_server()


def test_a_jump_of_the_databases_clock_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    clock.calibrate("default")
    reading = clock._readings["default"]
    clock._readings["default"] = reading._replace(offset=reading.offset - 3600)

    clock.calibrate("default")

    jump = clock.last_jump("default")
    assert jump is not None
    assert 3599 < jump.seconds < 3601
    assert "clock_jumped database=default seconds=3600" in caplog.text


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


@pytest.mark.parametrize("moment", [NOON, NOON.astimezone(timezone.get_fixed_timezone(330))])
def test_without_time_zones_a_time_is_local_or_has_a_zone(settings: Any, moment: datetime) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Shanghai"
    local = datetime(2031, 5, 6, 20)

    assert clock.moment_of(moment, "default", name="after") == local
    assert clock.moment_of(local, "default", name="after") == local


def test_with_time_zones_a_time_without_one_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^after is the naive datetime 2031-05-06 12:00:00: e"):
        clock.moment_of(NOON.replace(tzinfo=None), "default", name="after")

    assert clock.moment_of(NOON, "default", name="after") == NOON


#: In Berlin: ten seconds before the hour that is skipped, and before the one that is repeated.
BEFORE_SPRING = datetime(2027, 3, 28, 0, 59, 50, tzinfo=UTC)
BEFORE_AUTUMN = datetime(2027, 10, 31, 0, 59, 50, tzinfo=UTC)


@pytest.mark.parametrize("moment", [BEFORE_SPRING, BEFORE_AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("waited", range(0, 30, 5))
def test_without_time_zones_no_lease_ends_early_when_the_clocks_change(
    settings: Any, moment: datetime, waited: int
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"
    with time_machine.travel(moment, tick=False):
        lease_end = clock.after("default", 30)

    with time_machine.travel(moment + timedelta(seconds=waited), tick=False):
        assert clock.now("default") < lease_end


def test_without_time_zones_the_change_of_the_clocks_is_a_jump(settings: Any) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"
    if is_server():
        pytest.skip("the clock of a server cannot be set")
    with time_machine.travel(BEFORE_SPRING, tick=False):
        clock.calibrate("default")
        reading = clock._readings["default"]

    with time_machine.travel(BEFORE_SPRING + timedelta(seconds=20), tick=False):
        clock._readings["default"] = reading._replace(offset=time.time() - clock.steady())
        clock.calibrate("default")

    jump = clock.last_jump("default")
    assert jump is not None
    assert 3599 < jump.seconds < 3601


def test_without_time_zones_the_zone_of_a_request_does_not_matter(settings: Any) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Shanghai"

    with time_machine.travel(NOON, tick=False), timezone.override("America/New_York"):
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

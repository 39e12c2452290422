"""Clocks that jump, on the machine of a node and in the database, cost no healthy run its lease."""

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from django_simpletask3.db import clock
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from tests.conftest import SetVariable
from tests.eventually import eventually
from tests.testapp.models import Scripted
from tests.wall_clock import WallClock
from tests.worker.outages.conftest import VENDOR, Node, StartNode
from tests.worker.outages.outage_tasks import (
    ONCE,
    create_tasks,
    have_succeeded,
    started_count,
    waiting_steps,
)
from tests.worker.outages.servers import DatabaseServer

pytestmark = pytest.mark.thorough

HOUR = 3600
DEAD = "elsewhere:1:token"
#: Both hours of an autumn night in Berlin that are called half past two.
HALF_PAST_TWO = [datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1)]


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def node_clock(wall_clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """The clock of the machine on which nodes run."""
    for name, value in wall_clock.environment.items():
        monkeypatch.setenv(name, value)
    return wall_clock


@pytest.fixture
def database_clock(
    request: pytest.FixtureRequest, any_server: Any, wall_clock: WallClock
) -> Iterator[WallClock]:
    """The clock by which leases are judged: that of the server, or with SQLite of the node."""
    if not isinstance(any_server, DatabaseServer):
        yield request.getfixturevalue("node_clock")
        return
    connection.close()
    any_server.stop()
    plain = any_server.environment
    any_server.environment = {**plain, **wall_clock.environment}
    _make_readable(Path(wall_clock.environment["WALL_CLOCK"]).parent)
    any_server.start()
    yield wall_clock
    connection.close()
    any_server.stop()
    any_server.environment = plain
    any_server.start()


def _make_readable(folder: Path) -> None:
    """Let the user of a database server read ``folder``, which pytest keeps to itself."""
    for path in [folder, *folder.parents]:
        if not path.stat().st_mode & stat.S_IXOTH:
            path.chmod(0o755)


@pytest.fixture(autouse=True)
def uncalibrated() -> Iterator[None]:
    clock._readings.clear()
    yield
    clock._readings.clear()


def start_with_lease(set_variable: SetVariable, start_node: StartNode, lease: float) -> Node:
    set_variable("DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT", str(lease))
    set_variable("DJANGO_SIMPLETASK3_SHUTDOWN_GRACE", "1")
    return start_node()


def lose_task(lease: float) -> Scripted:
    """A task that runs on a node of which nothing is known any more."""
    lease_end = clock.after("default", lease)
    with transaction.atomic():  # else a node may start it first
        task = create_tasks(1)[0]
        apply(task, EventKind.START, worker=DEAD, values={"check_at": lease_end})
    return task


def lease_end(task: Scripted) -> Any:
    return Scripted.objects.get(pk=task.pk).check_at


def reasons(task: Scripted) -> list[str]:
    return [event.reason for event in task.events.all() if event.kind == EventKind.RECOVER]


def kinds(task: Scripted) -> list[EventKind]:
    return [event.kind for event in task.events.all()]


def test_a_clock_that_jumps_forward_costs_no_running_task_its_lease(
    database_clock: WallClock,
    start_node: StartNode,
    tmp_path: Path,
    set_variable: SetVariable,
) -> None:
    lost = lose_task(lease=60)
    (running,) = create_tasks(1, *waiting_steps(tmp_path))
    node = start_with_lease(set_variable, start_node, lease=30)  # renewed every ten seconds
    eventually(lambda: started_count(tmp_path) == 1)

    database_clock.set_ahead(HOUR)
    eventually(lambda: reasons(lost) == ["lease_expired"], interval=0.1)
    (tmp_path / "go").touch()
    eventually(lambda: have_succeeded([running, lost]))

    assert kinds(running) == ONCE
    assert node.count("clock_jumped") >= 1


def test_a_clock_that_jumps_back_keeps_no_lost_task_for_long(
    database_clock: WallClock,
    start_node: StartNode,
    tmp_path: Path,
    set_variable: SetVariable,
) -> None:
    database_clock.set_ahead(HOUR)
    (running,) = create_tasks(1, *waiting_steps(tmp_path))
    node = start_with_lease(set_variable, start_node, lease=1.5)
    eventually(lambda: started_count(tmp_path) == 1)
    lost = lose_task(lease=HOUR)

    database_clock.set_ahead(0)
    eventually(lambda: reasons(lost) == ["lease_expired"], timeout=60.0, interval=0.1)
    (tmp_path / "go").touch()
    eventually(lambda: have_succeeded([running, lost]))

    assert kinds(running) == ONCE
    assert node.count("clock_jumped") >= 1


@pytest.mark.parametrize("moment", HALF_PAST_TWO)
def test_the_two_hours_of_an_autumn_night_are_distinguished(
    server: DatabaseServer, moment: datetime
) -> None:
    with connection.cursor() as cursor:
        if VENDOR == "mysql":
            cursor.execute("SET timestamp = %s", [moment.timestamp()])
            cursor.execute("SELECT NOW()")
            (local,) = cursor.fetchone()
            assert (local.hour, local.minute) == (2, 30)
        else:
            cursor.execute("SET TIME ZONE 'Europe/Berlin'")
            moment = datetime.now(UTC)

    clock.calibrate("default")

    assert abs(clock.now("default") - moment) < timedelta(seconds=10)

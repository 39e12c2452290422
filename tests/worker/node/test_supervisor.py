"""The parent of a node's processes: what it remembers of them, and what it shares with them."""

import fcntl
import json
import os
import termios
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings

from django_simpletask3.models.registry import task_models
from django_simpletask3.states import Status
from django_simpletask3.worker.node import supervisor as module
from django_simpletask3.worker.node.banner import banner
from django_simpletask3.worker.node.supervisor import Supervisor
from django_simpletask3.worker.process import ProcessPlan
from tests.eventually import eventually
from tests.testapp.models import Elsewhere, Invoice
from tests.worker.conftest import Start


def test_the_banner_asks_no_database(redis_url: str) -> None:
    # Without a database fixture every attempt to connect is an error.
    shown = banner(task_models(), 4, burst=False)

    assert f"default ({connection.vendor}: {settings.DATABASES['default']['NAME']})" in shown
    assert f"other ({connection.vendor}: {settings.DATABASES['other']['NAME']})" in shown


def test_the_banner_says_that_a_node_polls() -> None:
    with override_settings(DJANGO_SIMPLETASK3_SIMQ_REDIS_URL="none://"):
        shown = banner(task_models(), 1, burst=False)

    assert "none://  this node polls the tables" in shown
    assert "Warning" not in shown


@pytest.fixture
def short_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Children that write down whom they are to recover, and die of it twice; the folder."""

    def live(plan: ProcessPlan, worker: str, counters: Any) -> NoReturn:
        number = len(list(tmp_path.iterdir()))
        predecessors = [(process.worker, process.exit_code) for process in plan.predecessors]
        report = json.dumps({"worker": worker, "predecessors": predecessors})
        (tmp_path / str(number)).write_text(report)
        os._exit(9 if number < 2 else 0)

    monkeypatch.setattr(module, "child_main", live)
    return tmp_path


# The watchdog of the test run is a thread, too.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_recovers_what_all_held_that_died_early_before_it(short_lives: Path) -> None:
    Supervisor([Invoice], burst=True).run()

    lives = [json.loads((short_lives / str(number)).read_text()) for number in range(3)]
    assert [life["predecessors"] for life in lives] == [
        [],
        [[lives[0]["worker"], 9]],
        [[lives[0]["worker"], 9], [lives[1]["worker"], 9]],
    ]


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A child that asks for two tasks, one while the other runs, and outlives that; the folder."""
    first, second = Invoice(pk=1), Invoice(pk=2)
    began, may_end = tmp_path / "1", tmp_path / "may end"

    def live(plan: ProcessPlan, worker: str, counters: Any) -> NoReturn:
        if plan.lone_task is not None:
            (tmp_path / plan.lone_task.key).write_text(worker)
            eventually(may_end.exists)
        elif not began.exists():
            ask: Any = plan.run_alone
            ask(first)
            eventually(lambda: began.exists() and began.read_text())
            ask(first)
            ask(second)
            eventually(lambda: _unread(ask.__self__.fileno()) == 0)
            may_end.touch()
            eventually(lambda: not Path("/proc", began.read_text().split(":")[1]).exists())
        os._exit(0)

    monkeypatch.setattr(module, "child_main", live)
    return tmp_path


def _unread(pipe: int) -> int:
    number = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, number)
    return number[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_burst_runs_a_task_alone_that_was_asked_for_while_another_ran(
    asking: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Supervisor([Invoice], burst=True).run()

    alone = [record.args[1] for record in caplog.records if "runs_alone" in record.msg]
    assert (alone, (asking / "2").exists()) == (["1", "2"], True)


@pytest.fixture
def looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The first child looks for no task after that which has run alone; the folder."""
    alone = tmp_path / "alone"

    def live(plan: ProcessPlan, worker: str, counters: Any) -> NoReturn:
        if plan.lone_task is not None:
            alone.write_text(worker)
        elif not alone.exists():
            ask: Any = plan.run_alone
            ask(Invoice(pk=1))
            eventually(lambda: alone.exists() and alone.read_text())
            eventually(lambda: not Path("/proc", alone.read_text().split(":")[1]).exists())
        else:
            (tmp_path / "looked again").touch()
        os._exit(0)

    monkeypatch.setattr(module, "child_main", live)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_burst_looks_again_after_a_task_has_run_alone(looking: Path) -> None:
    Supervisor([Invoice], burst=True).run()

    assert (looking / "looked again").exists()


@pytest.mark.one_server
@pytest.mark.skipif(connection.vendor != "postgresql", reason="Django pools for PostgreSQL")
def test_a_pool_that_was_opened_before_the_fork_is_not_shared(start_server: Start) -> None:
    pytest.importorskip("psycopg_pool")
    here = [Invoice.objects.create() for _ in range(40)]
    there = [Elsewhere.objects.create() for _ in range(40)]

    start_server("--processes", "4", DJANGO_SETTINGS_MODULE="tests.worker.pooled_app.settings")
    eventually(lambda: Invoice.objects.succeeded().count() == len(here), timeout=30)
    eventually(lambda: Elsewhere.objects.succeeded().count() == len(there), timeout=30)

    for task in (*here, *there):
        task.refresh_from_db()
        kinds = [str(kind) for kind in task.events.values_list("kind", flat=True)]
        assert (task.status, kinds) == (Status.SUCCESS, ["enqueue", "start", "ack"])


def test_a_child_that_is_not_started_any_more_keeps_no_stopping_supervisor_awake() -> None:
    supervisor = Supervisor([Invoice])
    supervisor._starts.append((0.0, 0, (), 0))
    assert supervisor._seconds_until_tick() == 0.0

    supervisor._stop.request()

    assert supervisor._seconds_until_tick() > 0.0

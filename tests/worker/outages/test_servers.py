"""A database server that goes, hangs, or ends every session: the work waits for it."""

import time
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from tests.conftest import SetVariable
from tests.eventually import eventually
from tests.testapp.models import Scripted
from tests.worker.outages.conftest import Node, StartNode, environment_of
from tests.worker.outages.outage_tasks import (
    assert_each_lived_once,
    create_tasks,
    or_none_during_outage,
    started_count,
    waiting_steps,
)
from tests.worker.outages.servers import DatabaseServer

pytestmark = pytest.mark.thorough


def test_a_restart_while_tasks_run_and_outcomes_wait_costs_no_task_anything(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    running = create_tasks(4, *waiting_steps(tmp_path))
    node = start_node()
    eventually(lambda: started_count(tmp_path) == len(running))
    waiting = create_tasks(20)

    server.stop()
    (tmp_path / "go").touch()
    eventually(lambda: node.count("finish_postponed") >= 3)
    server.start()

    assert_each_lived_once([*running, *waiting], node)
    assert started_count(tmp_path) == len(running)


def test_while_the_server_is_away_it_is_asked_more_and_more_rarely(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    running = create_tasks(4, *waiting_steps(tmp_path))
    node = start_node()
    eventually(lambda: started_count(tmp_path) == len(running))
    create_tasks(1)

    server.stop()
    (tmp_path / "go").touch()
    passed(4.0)
    tries = {words: node.count(words) for words in ("finish_postponed", "loop_failed")}
    server.start()

    # 0.1 s doubled five times is more than 4 s: six tries, each by itself. Loops begin at 0.2 s.
    assert 1 <= tries["finish_postponed"] <= 8 * len(running)
    assert tries["loop_failed"] <= 40
    assert_each_lived_once(running, node)


def test_sessions_that_are_killed_again_and_again_cost_no_task_anything(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    append = {"do": "append", "path": str(tmp_path / "begun")}
    node = start_node()
    tasks = create_tasks(5, append)
    eventually(lambda: started_count(tmp_path) == len(tasks))

    for _ in range(15):
        tasks += create_tasks(4, append)
        connection.close()
        eventually(server.cut_off)

    assert_each_lived_once(tasks, node)
    assert started_count(tmp_path) == len(tasks)


def test_a_server_that_hangs_for_seconds_costs_no_task_anything(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    running = create_tasks(4, *waiting_steps(tmp_path))
    node = start_node()
    eventually(lambda: started_count(tmp_path) == len(running))
    waiting = create_tasks(20)

    server.freeze()
    (tmp_path / "go").touch()
    passed(3.0)
    server.thaw()

    assert_each_lived_once([*running, *waiting], node)
    assert started_count(tmp_path) == len(running)


def test_an_outage_longer_than_the_lease_costs_no_running_task_its_claim(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path, set_variable: SetVariable
) -> None:
    set_variable("DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT", "6")
    set_variable("DJANGO_SIMPLETASK3_SHUTDOWN_GRACE", "1")
    running = create_tasks(5, *waiting_steps(tmp_path))
    nodes = [start_node(), start_node()]
    eventually(lambda: started_count(tmp_path) == len(running))
    eventually(lambda: all(node.count("until stopped") for node in nodes))

    server.stop()
    passed(9.0)
    server.start()
    eventually(lambda: or_none_during_outage(lambda: are_held(running)))
    (tmp_path / "go").touch()

    assert_each_lived_once(running, *nodes)
    assert started_count(tmp_path) == len(running)


def test_a_burst_whose_server_stays_away_ends_with_code_1(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path, set_variable: SetVariable
) -> None:
    set_variable("DJANGO_SIMPLETASK3_SHUTDOWN_GRACE", "1")
    create_tasks(1, *waiting_steps(tmp_path))
    node = Node(tmp_path / "burst.log", environment_of(server.settings()), "--burst")
    eventually(lambda: started_count(tmp_path) == 1)

    server.stop()
    (tmp_path / "go").touch()

    assert node.process.wait(timeout=60) == 1
    assert node.count("burst_failed") == 1


def are_held(tasks: list[Scripted]) -> bool:
    """Whether the lease of each is a valid one."""
    found = Scripted.objects.filter(pk__in=[task.pk for task in tasks])
    return all(task.check_at and task.check_at > timezone.now() for task in found)


def passed(seconds: float) -> None:
    """Nothing tells that a frozen server is frozen: the outage is this long."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, timeout=2 * seconds)

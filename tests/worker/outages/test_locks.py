"""Locks of other sessions: the work that they block waits, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.testapp.models import Scripted
from tests.worker.outages.conftest import StartNode
from tests.worker.outages.outage_tasks import (
    assert_each_lived_once,
    create_tasks,
    have_succeeded,
    or_none_during_outage,
    started_count,
    statuses,
    waiting_steps,
)
from tests.worker.outages.servers import DatabaseServer, Postgres, SqliteFile, asked

pytestmark = pytest.mark.thorough

TASKS = Scripted._meta.db_table
EVENTS = Scripted.event_model._meta.db_table
HOLD = f"SELECT id FROM {TASKS} WHERE id = %s FOR UPDATE"

#: A message whose claim is not renewed comes back after 30 s: less than this is not that.
BEFORE_THE_MESSAGE_COMES_BACK = 25.0


def test_an_outcome_whose_row_is_held_waits_and_others_do_not(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    culprit = create_tasks(1, *waiting_steps(tmp_path))
    node = start_node()
    eventually(lambda: started_count(tmp_path) == 1)

    with server.transaction() as session:
        asked(session, HOLD, culprit[0].pk)
        (tmp_path / "go").touch()
        eventually(lambda: node.count("finish_postponed") >= 3)
        others = create_tasks(5)
        eventually(lambda: have_succeeded(others))
        meanwhile = statuses(culprit)

    assert meanwhile == [Status.RUNNING]
    assert_each_lived_once([*culprit, *others], node)


def test_a_task_whose_row_is_held_is_started_soon_after_and_others_at_once(
    server: DatabaseServer, start_node: StartNode
) -> None:
    culprit = create_tasks(1)

    with server.transaction() as session:
        asked(session, HOLD, culprit[0].pk)
        node = start_node()
        eventually(lambda: node.count("start_postponed") >= 4)
        others = create_tasks(5)
        eventually(lambda: have_succeeded(others))
        meanwhile = statuses(culprit)
    eventually(lambda: have_succeeded(culprit), timeout=BEFORE_THE_MESSAGE_COMES_BACK)

    assert meanwhile == [Status.PENDING]
    assert_each_lived_once([*culprit, *others], node)


def test_a_table_that_is_locked_costs_no_task_anything(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    running = create_tasks(4, *waiting_steps(tmp_path))
    node = start_node(**server.impatient)
    eventually(lambda: started_count(tmp_path) == len(running))
    waiting = create_tasks(3)
    connection.close()

    with server.transaction() as session:
        asked(session, server.lock_table.format(EVENTS))
        (tmp_path / "go").touch()
        eventually(lambda: node.count("finish_postponed") >= 2, timeout=60)

    assert_each_lived_once([*running, *waiting], node)
    assert started_count(tmp_path) == len(running)


def test_the_victim_of_a_deadlock_is_tried_again(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    running = create_tasks(1, *waiting_steps(tmp_path))
    # Of two PostgreSQL ends the one whose patience ends first, MariaDB the one that wrote less.
    node = start_node(**({"options": "-c deadlock_timeout=3s"} if _is_postgres(server) else {}))
    eventually(lambda: started_count(tmp_path) == 1)

    with server.transaction() as session:
        _take_the_stream_of(running[0], session, server)
        (tmp_path / "go").touch()
        # MariaDB answers from a cache if it is asked too often.
        eventually(lambda: server.ask(server.waiting), interval=0.3)
        asked(session, HOLD, running[0].pk)
        eventually(lambda: node.count("eadlock"))

    assert_each_lived_once(running, node)


SAME_EVENT = f"""
INSERT INTO {EVENTS} (task_id, sequence, kind, attempt, event_time, worker, actor, reason, digest)
VALUES (%s, %s, 'note', 1, now(), '', '', '', '')
"""


def _is_postgres(server: DatabaseServer) -> bool:
    return isinstance(server, Postgres)


def _take_the_stream_of(task: Scripted, session: Any, server: DatabaseServer) -> None:
    if _is_postgres(server):
        asked(session, "SET deadlock_timeout = '60s'")
        # The worker writes its row first, then finds that its event may be there already.
        asked(session, SAME_EVENT, task.pk, task.sequence + 2)
        return
    for number in range(200):
        sql = "INSERT INTO django_session VALUES (%s, '', '2030-01-01')"
        asked(session, sql, f"weight {number}")
    asked(session, f"SELECT id FROM {EVENTS} WHERE task_id = %s FOR UPDATE", task.pk)


def test_conflicts_of_serializable_transactions_cost_no_task_anything(
    server: DatabaseServer, start_node: StartNode, tmp_path: Path
) -> None:
    append = {"do": "append", "path": str(tmp_path / "begun")}
    nodes = [start_node(**server.serializable) for _ in range(2)]
    tasks = create_tasks(60, append)

    def disturbed() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TASKS} SET priority = priority + 1 - 1")
        return have_succeeded(tasks)

    eventually(lambda: or_none_during_outage(disturbed), timeout=90, interval=0.001)

    assert_each_lived_once(tasks, *nodes)
    assert started_count(tmp_path) == len(tasks)


def test_a_writer_who_outlasts_the_timeout_of_sqlite_costs_no_task_anything(
    file: SqliteFile, start_node: StartNode, tmp_path: Path
) -> None:
    # More than a node of five threads claims ahead: some are claimed during the outage.
    tasks = create_tasks(15, *waiting_steps(tmp_path))
    node = start_node(**file.impatient)
    eventually(lambda: started_count(tmp_path) == 5)
    connection.close()

    with file.transaction():
        (tmp_path / "go").touch()
        eventually(lambda: node.count("finish_postponed") >= 3)
        eventually(lambda: node.count("loop_failed thread=fetcher") >= 1)

    assert_each_lived_once(tasks, node)
    assert started_count(tmp_path) == len(tasks)

"""How long the threads of a node keep their sessions with the database while work never pauses."""

import threading
import time
from collections import Counter
from typing import Any

import pytest
from django.db import connection, connections

from django_simpletask3.execution import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.models.each_database import in_each_database
from django_simpletask3.signals import task_succeeded
from django_simpletask3.worker.databases import threads
from django_simpletask3.worker.databases.threads import Apart
from django_simpletask3.worker.finisher import Finisher, Outcomes
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.loop import Loop, StopRequest
from django_simpletask3.worker.node.counters import Counters
from django_simpletask3.worker.pipeline import ModelPipeline
from django_simpletask3.worker.task_thread import TaskThread
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER, start_waiting

pytestmark = pytest.mark.django_db(transaction=True)

AGE, LOAD = 3.0, 12


class Hours:
    """A clock that goes on by one with each piece of work, and the sessions that did it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._passed, self._used = 0.0, list[Any]()
        monotonic = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self._passed)
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", AGE)

    def work(self) -> int:
        """Use the connection of this thread for an hour; returns how often it was used."""
        connection.ensure_connection()
        self._used.append(connection.connection)
        self._passed += 1.0
        return len(self._used)

    def shares(self) -> list[int]:
        """How much each session has done."""
        return list(Counter(map(id, self._used)).values())


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(monkeypatch)


def runs_in(pipeline: ModelPipeline) -> list[Run]:
    for _ in range(LOAD):
        Invoice.objects.create()
    return start_waiting(pipeline, LOAD)


def ended(thread: threading.Thread) -> None:
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_tasks_without_a_pause_do_not_keep_a_session_that_is_old(
    pipeline: ModelPipeline, hours: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, "do_task", lambda task: hours.work())
    pipeline.accept(runs_in(pipeline))
    pipeline.inbox.put(None)

    ended(TaskThread(pipeline, 0))

    assert hours.shares() == [AGE] * 4


def test_outcomes_without_a_pause_do_not_keep_a_session_that_is_old(
    pipeline: ModelPipeline, hours: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_simpletask3.worker.pipeline.MAX_BATCH", 1)
    for run in runs_in(pipeline):
        perform.perform(run)
        pipeline.outbox_of("default").put(run)
    pipeline.outbox_of("default").put(None)

    def hear(**_: Any) -> None:
        hours.work()

    task_succeeded.connect(hear)
    try:
        ended(Finisher(Outcomes(pipeline, Leases(WORKER), Counters())))
    finally:
        task_succeeded.disconnect(hear)

    assert hours.shares() == [AGE] * 4


def test_steps_without_a_rest_do_not_keep_a_session_that_is_old(hours: Hours) -> None:
    stop = StopRequest()

    def step() -> float:
        if hours.work() == LOAD:
            stop.request()
        return 0.0

    ended(Loop("fetcher", stop, step))

    assert hours.shares() == [AGE] * 4


class Statements:
    """How many statements DEBUG has kept of a thread, after each piece of its work."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def work(self, **_: Any) -> float:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        # Not those with which Django begins a session of MariaDB.
        kept = [query["sql"] for query in connection.queries_log]
        self.kept.append(sum("SELECT 1" in sql for sql in kept))
        return 0.0


@pytest.fixture
def statements(settings: Any) -> Statements:
    settings.DEBUG = True
    return Statements()


def test_debug_keeps_no_statements_of_a_loop(statements: Statements) -> None:
    stop = StopRequest()

    def work() -> float:
        if len(statements.kept) == LOAD:
            stop.request()
        return statements.work()

    ended(Loop("statements", stop, work))

    assert set(statements.kept) == {1}


def test_debug_keeps_no_statements_of_a_finisher(
    redis_url: str, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_simpletask3.worker.pipeline.MAX_BATCH", 1)
    pipeline = ModelPipeline(Invoice, 1, WORKER)
    for run in runs_in(pipeline):
        perform.perform(run)
        pipeline.outbox_of("default").put(run)
    pipeline.outbox_of("default").put(None)

    task_succeeded.connect(statements.work)
    try:
        ended(Finisher(Outcomes(pipeline, Leases(WORKER), Counters())))
    finally:
        task_succeeded.disconnect(statements.work)

    assert len(set(statements.kept)) == 1


def test_debug_keeps_no_statements_of_work_apart(statements: Statements) -> None:
    apart = Apart("statements", patience=30)

    for _ in range(LOAD):
        apart.run(lambda: in_each_database(lambda _: statements.work(), ["default"]))

    assert set(statements.kept) == {1}


def test_a_session_that_cannot_be_asked_for_its_state_does_not_end_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_MAX_LINGER_SECONDS", 0.01)
    databases = threads.DatabaseThreads[Any]("unaskable")
    is_asked = threading.Event()

    def fail() -> None:
        is_asked.set()
        raise RuntimeError("no state")

    def work() -> int:
        connection.ensure_connection()
        monkeypatch.setattr(connections["default"], "close_if_unusable_or_obsolete", fail)
        return threading.get_ident()

    [first] = databases.call({"default": work}, 30)
    assert is_asked.wait(timeout=60)
    [second] = databases.call({"default": threading.get_ident}, 30)

    assert first.value == second.value

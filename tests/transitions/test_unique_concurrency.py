"""Many processes and threads that enqueue the same keys at once leave one task for each."""

import fcntl
import multiprocessing
import os
import random
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_simpletask3.audit.check import audit
from django_simpletask3.exceptions import DuplicateTask
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.queue import reset_queue
from django_simpletask3.states import EventKind, Status
from django_simpletask3.unique import Unique
from tests.eventually import eventually
from tests.steps import apply_kinds, other_session_waits, stream_of
from tests.testapp.models import Bill

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES, THREADS = 4, 15
LEVELS = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {}",
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL {}",
}

#: How many sessions other tests may begin meanwhile; statements that return those that there are,
#: and the most that the server lets in.
SPARE = 10
SESSIONS = {
    "postgresql": "SELECT count(*), current_setting('max_connections')::int "
    "- current_setting('superuser_reserved_connections')::int FROM pg_stat_activity "
    "WHERE backend_type = 'client backend'",
    "mysql": "SELECT count(*), @@max_connections FROM information_schema.processlist",
}

each_level = pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])


@contextmanager
def many_sessions(number: int) -> Iterator[None]:
    """Have room for so many sessions, and be the only test of this user that needs that.

    Two of them would hold all sessions of a server, and wait for those of each other.
    """
    if connection.vendor not in SESSIONS:
        yield
        return

    def is_there_room() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(SESSIONS[connection.vendor])
            used, most = cursor.fetchone()
        return bool(used + number + SPARE <= most)

    name = f"simpletask3-tests-{os.getuid()}-{connection.vendor}-sessions"
    path = Path(tempfile.gettempdir()) / name
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(AssertionError):  # connect() goes on to wait
            eventually(is_there_room, timeout=60, interval=0.2)
        connections.close_all()
        yield


def connect(level: str) -> None:
    """Connect with this isolation level; other sessions of the server may have to end first."""

    def has_connected() -> bool:
        try:
            connection.ensure_connection()
        except OperationalError:
            return False
        return True

    eventually(has_connected, timeout=60)
    if connection.vendor in LEVELS:
        with connection.cursor() as cursor:
            cursor.execute(LEVELS[connection.vendor].format(level))


def run_threads(
    work: Callable[[int], Any], numbers: range, level: str, line: Any, outcomes: Any
) -> None:
    """Call ``work`` with each of ``numbers``, each in a thread; all begin together."""

    def run(number: int) -> None:
        try:
            connect(level)
            line.wait(90)
            outcomes.put((number, work(number)))
        except BaseException:
            outcomes.put((number, traceback.format_exc()))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_processes(
    work: Callable[[int], Any], level: str, *, threads: int = THREADS
) -> dict[int, Any]:
    """What ``work`` returned to each thread of four processes, by its number."""
    if level != "READ COMMITTED" and connection.vendor not in LEVELS:
        pytest.skip("there is one level here")
    connections.close_all()
    reset_queue()
    context = multiprocessing.get_context("fork")
    line, outcomes = context.Barrier(PROCESSES * threads), context.Queue()
    processes = [
        context.Process(
            target=run_threads,
            args=(work, range(first, first + threads), level, line, outcomes),
        )
        for first in range(0, PROCESSES * threads, threads)
    ]
    with many_sessions(PROCESSES * threads):
        for process in processes:
            process.start()
        found = dict(outcomes.get(timeout=120) for _ in range(PROCESSES * threads))
        for process in processes:
            process.join()
    return found


@each_level
@pytest.mark.parametrize("on_conflict", ["refuse", "join", "replace"])
def test_sixty_threads_on_four_processes_leave_one_task(
    on_conflict: Any, level: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unique = Unique("{number}", on_conflict=on_conflict)
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)

    def enqueue(number: int) -> Any:
        try:
            task = Bill.objects.enqueue(number="7")
        except DuplicateTask as duplicate:
            return "refused", duplicate.task.pk
        return "joined" if task.was_joined else "new", task.pk

    outcomes = in_processes(enqueue, level)

    counts = Counter(outcome[0] for outcome in outcomes.values())
    [waiting] = rows_of(Bill, "default").filter(status=Status.PENDING)
    replaced = rows_of(Bill, "default").filter(status=Status.CANCELED)
    if on_conflict == "replace":
        assert counts == {"new": 60}, outcomes
        assert (replaced.count(), replaced.exclude(unique_key=None).count()) == (59, 0)
        assert "replaces" in stream_of(waiting)[0].data
    else:
        assert counts == {"new": 1, {"refuse": "refused"}.get(on_conflict, "joined"): 59}, outcomes
        assert {pk for _, pk in outcomes.values()} == {waiting.pk}
        assert Bill.objects.count() == 1
    assert list(audit(Bill, "default")) == []


@each_level
def test_keys_that_are_freed_meanwhile_stop_no_other(level: str, redis_url: str) -> None:
    """Each thread enqueues, starts, enqueues again, recovers the first, and resets it."""

    def work(number: int) -> list[str]:
        refusals = []
        for _ in range(3):
            try:
                task = Bill.objects.enqueue(number=str(number % 3))
                apply_kinds(task, EventKind.START, EventKind.RECOVER, EventKind.START)
                apply_kinds(task, EventKind.ACK)
                task.reset()
            except DuplicateTask as refusal:
                refusals.append(refusal.kind)
        return refusals

    outcomes = in_processes(work, level, threads=3)

    assert [outcome for outcome in outcomes.values() if not isinstance(outcome, list)] == []
    waiting = rows_of(Bill, "default").filter(status=Status.PENDING)
    assert sorted(waiting.values_list("number", flat=True)) == ["0", "1", "2"]
    assert list(audit(Bill, "default")) == []


@pytest.mark.parametrize(
    ("on_conflict", "level"),
    [("join", "REPEATABLE READ"), ("replace", "READ COMMITTED"), ("join", "READ COMMITTED")],
)
def test_many_tasks_of_the_same_keys_are_enqueued_in_any_order(
    on_conflict: Any, level: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unique = Unique("{number}", on_conflict=on_conflict)
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)
    numbers = [str(number) for number in range(20)]

    def enqueue(number: int) -> list[str]:
        shuffled = random.Random(number).sample(numbers, len(numbers))
        tasks = Bill.objects.bulk_enqueue([{"number": number} for number in shuffled])
        return [task.number for task in tasks] == shuffled

    outcomes = in_processes(enqueue, level, threads=2)

    assert set(outcomes.values()) == {True}, outcomes
    waiting = rows_of(Bill, "default").filter(status=Status.PENDING)
    assert sorted(waiting.values_list("number", flat=True)) == sorted(numbers)
    assert list(audit(Bill, "default")) == []


def test_a_transaction_that_waits_for_a_key_gets_it_if_the_other_is_rolled_back(
    redis_url: str,
) -> None:
    if not connection.features.has_select_for_update:
        pytest.skip("one writer at a time")
    began, outcomes = threading.Event(), []

    def enqueue() -> None:
        began.set()
        outcomes.append(Bill.objects.enqueue(number="7").pk)
        connections.close_all()

    thread = threading.Thread(target=enqueue)
    with transaction.atomic():
        Bill.objects.enqueue(number="7")
        thread.start()
        began.wait(30)
        eventually(other_session_waits, interval=0.3)  # what MariaDB says is older than that
        transaction.set_rollback(True)
    thread.join()

    assert outcomes == list(Bill.objects.values_list("pk", flat=True))

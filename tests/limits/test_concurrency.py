"""Many threads, and transactions that overlap: never above the limit, and none is forgotten."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_simpletask3.db import clock
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.limits import admission
from django_simpletask3.limits.maintenance import mark_gates, serve_limits
from django_simpletask3.limits.places import lock_gates
from django_simpletask3.limits.tables import LimitGate, LimitPlace
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.limits.steps import are_limits_idle, end, errands, start, start_all, statuses
from tests.steps import PAST, other_session_waits
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)


def in_thread(work: Callable[[], Any]) -> Any:
    """Call ``work`` in a thread with connections of its own; the future of its result."""

    def closing() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return ThreadPoolExecutor(1).submit(closing)


class Places:
    """Counts independently how many tasks of a customer run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    @contextmanager
    def taken(self, customer: str) -> Iterator[None]:
        with self._lock:
            self._running[customer] += 1
            self.most[customer] = max(self.most[customer], self._running[customer])
        yield
        with self._lock:
            self._running[customer] -= 1


def run_some(places: Places) -> None:
    """Start and end waiting tasks, in any order, until all have ended."""
    while unfinished := list(Errand.objects.exclude(status=Status.SUCCESS)):
        waiting = [task for task in unfinished if task.status == Status.PENDING]
        run = start(random.choice(waiting)) if waiting else None
        if run is not None:
            with places.taken(run.task.customer):
                perform(run)
            while finish([run]):
                pass  # another thread tries to start the task, by a row that it has read before


def test_never_more_run_than_the_limit_says_and_all_run_in_the_end() -> None:
    tasks = [*errands(10, "a"), *errands(10, "b")]
    places = Places()

    for future in [in_thread(lambda: run_some(places)) for _ in range(6)]:
        future.result(timeout=120)

    assert statuses(tasks) == ["SUCCESS"] * 20
    assert max(places.most.values()) <= 2
    assert are_limits_idle()


def test_a_place_that_is_freed_while_a_task_is_turned_away_is_given_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = errands(3)
    first, _ = start_all(tasks[:2])
    has_read, has_ended = threading.Event(), threading.Event()
    read = admission._Admission._read_places

    def read_and_wait(self: Any, given: Any) -> Any:
        places = read(self, given)
        has_read.set()
        has_ended.wait(0.3)  # it does not end before this transaction does
        return places

    monkeypatch.setattr(admission._Admission, "_read_places", read_and_wait)
    parking = in_thread(lambda: start(tasks[2]))
    assert has_read.wait(30)
    end(first)
    has_ended.set()

    assert parking.result(timeout=30) is None
    assert statuses([tasks[2]]) == ["PENDING"]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_gates_are_marked_in_the_order_in_which_they_are_locked() -> None:
    """A worker that holds the first and asks for the second would wait for the mark, and it."""
    if not connection.features.has_select_for_update:
        pytest.skip("one transaction writes at a time")
    first, second = (
        LimitGate.objects.create(name="testapp.Errand", key=uuid.uuid4(), has_waiters=True)
        for _ in range(2)
    )
    LimitGate.objects.filter(pk=first.pk).update(turn=1)  # now the second one in the table

    with transaction.atomic():
        lock_gates([first.pk], "default")
        marking = in_thread(lambda: mark_gates("default"))
        assert eventually(other_session_waits, interval=0.3)
        free = LimitGate.objects.select_for_update(nowait=True).filter(pk=second.pk)
        assert [gate.pk for gate in free] == [second.pk]
    marking.result(timeout=30)

    assert LimitGate.objects.filter(must_be_served=True).count() == 2


def test_a_task_that_a_user_holds_locked_delays_no_other() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("one transaction writes at a time")
    tasks = errands(4)
    first, second = start_all(tasks)
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Errand.objects.get(pk=tasks[2].pk).cancel()
            is_held.set()
            may_end.wait(30)
            transaction.set_rollback(True)

    holding = in_thread(hold)
    is_held.wait(30)
    end(first)
    assert statuses(tasks[2:]) == ["BLOCKED", "PENDING"]
    may_end.set()
    holding.result(timeout=30)

    end(second)
    assert eventually(lambda: statuses(tasks[2:]) == ["PENDING", "PENDING"])


def test_a_user_who_cancels_a_task_that_was_given_a_place_stops_no_other() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("one transaction writes at a time")
    tasks = errands(4)
    first, second = start_all(tasks)
    end(first)
    LimitPlace.objects.filter(worker="").update(held_until=PAST)
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Errand.objects.get(pk=tasks[2].pk).cancel()
            is_held.set()
            may_end.wait(30)

    holding = in_thread(hold)
    is_held.wait(30)
    serving = in_thread(lambda: serve_limits("default", clock.now("default"), 10.0))
    try:
        serving.result(timeout=20)
        end(second)
        assert statuses([tasks[3]]) == ["PENDING"]
    finally:
        may_end.set()
        holding.result(timeout=30)
    assert statuses([tasks[2]]) == ["CANCELED"]

"""Tasks that start in the process which has freed their places."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import OperationalError, transaction

from django_simpletask3.db import clock
from django_simpletask3.dispatch import after_commit
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.execution.start import start as start_messages
from django_simpletask3.ledger.task_row import TaskRow
from django_simpletask3.limits import Limit, hand_over, successors
from django_simpletask3.limits.successors import Host, Successors
from django_simpletask3.limits.tables import LimitPlace
from django_simpletask3.queue import get_queue, outage
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from tests.limits.steps import (
    LEASE,
    are_limits_idle,
    errands,
    held,
    start,
    start_all,
    statuses,
    waiting,
)
from tests.steps import has_message, kinds, row_of, stream_of
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)


class Worker:
    """A process with some free threads, which starts what it may."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.accepted: list[TaskRow] = []
        self.successors = Successors(
            Host("w1", LEASE, lambda task, using: True, self._reserve, self._give_back, self._take)
        )

    def _reserve(self) -> bool:
        if not self.threads:
            return False
        self.threads -= 1
        return True

    def _give_back(self, number: int) -> None:
        self.threads += number

    def _take(self, tasks: Sequence[TaskRow], threads: int) -> None:
        self.accepted += tasks

    def end(self, run: Run) -> list[Run]:
        """Let the function of ``run`` return, and record that; the runs that could not be."""
        perform(run)
        return finish([run], self.successors)

    def runs(self) -> list[Run]:
        """The runs of the tasks that were accepted since the last call."""
        tasks, self.accepted = self.accepted, []
        return [Run(task, "w1") for task in tasks]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(1, key="{customer}"))


def test_the_next_task_starts_in_the_process_that_frees_the_place() -> None:
    tasks, worker = errands(3), Worker()
    [first] = start_all(tasks)

    assert not worker.end(first)

    assert statuses(tasks) == ["SUCCESS", "RUNNING", "BLOCKED"]
    assert kinds(tasks[1]) == ["enqueue", "block", "unblock", "start"]
    assert worker.accepted == [tasks[1]]
    assert worker.threads == 0
    assert held() == [(str(tasks[1].pk), 1)]


def test_one_after_the_other_runs_and_nothing_is_left() -> None:
    tasks, worker = errands(4), Worker()
    runs = start_all(tasks)

    while runs:
        worker.end(runs.pop())
        runs, worker.threads = worker.runs(), 1

    assert statuses(tasks) == ["SUCCESS"] * 4
    assert are_limits_idle()


@pytest.mark.parametrize("is_outage", [False, True])
def test_who_waits_for_a_task_that_was_turned_away_is_woken_by_its_end(
    is_outage: bool, request: pytest.FixtureRequest
) -> None:
    """In an outage of Redis, the place is given to the next one without waiting for that."""
    tasks, worker, queue = errands(2), Worker(), get_queue()
    messages = queue.claim(Errand.get_event_channel(), worker="w1", limit=2, lease=LEASE)
    [first], _ = start_messages(Errand, messages, worker="w1", lease=LEASE)
    assert queue.query(tasks[1].get_task_id()) is None

    worker.end(first)
    [second] = worker.runs()
    if is_outage:
        request.addfinalizer(outage.forget)
        outage.record("away")
    worker.end(second)

    assert second.message is None
    fields = queue.query(tasks[1].get_task_id(), timeout=0 if is_outage else 5) or {}
    assert fields.get("status") == (None if is_outage else "done")


def test_such_a_start_leaves_the_row_and_the_events_that_a_claim_leaves() -> None:
    here, elsewhere, worker = errands(2), errands(2, "b"), Worker()
    for tasks, threads in ((here, 1), (elsewhere, 0)):
        worker.threads = threads
        worker.end(start_all(tasks)[0])
    start(elsewhere[1])
    events = [
        [
            (e.kind, e.attempt, e.worker, e.actor, e.reason, sorted(e.data or {}))
            for e in stream_of(task)
        ]
        for task in (here[1], elsewhere[1])
    ]
    rows = [
        (
            row.status,
            row.attempt,
            row.sequence,
            row.worker,
            row.check_at is None,
            row.start_time is None,
        )
        for row in map(row_of, (here[1], elsewhere[1]))
    ]
    places = [
        (place.number, place.attempt, place.worker) for place in LimitPlace.objects.order_by("pk")
    ]

    assert events[0] == events[1]
    assert rows[0] == rows[1]
    assert places[0] == places[1]
    assert LimitPlace.objects.get(task_key=str(here[1].pk)).held_until == row_of(here[1]).check_at


def test_the_instance_is_as_the_row_so_its_end_needs_no_second_look() -> None:
    tasks, worker = errands(2), Worker()
    worker.end(start_all(tasks)[0])
    [run] = worker.runs()
    row = row_of(tasks[1])

    assert run.attempt == row.attempt == 1
    assert run.last_known_row["sequence"] == row.sequence
    assert run.last_known_row["digest"] == row.digest


def test_without_a_free_thread_the_task_is_pushed() -> None:
    tasks, worker = errands(2), Worker(threads=0)

    worker.end(start_all(tasks)[0])

    assert statuses(tasks) == ["SUCCESS", "PENDING"]
    assert has_message(tasks[1])
    assert not worker.accepted


def test_no_more_start_than_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(2, key="{customer}"))
    tasks, worker = errands(4), Worker(threads=1)
    runs = start_all(tasks)
    for run in runs:
        perform(run)

    finish(runs, worker.successors)

    assert statuses(tasks[2:]) == ["RUNNING", "PENDING"]
    assert worker.accepted == [tasks[2]]


def test_the_highest_priority_comes_first() -> None:
    tasks, worker = [*errands(2), *errands(1, priority=5)], Worker()

    worker.end(start_all(tasks)[0])

    assert statuses(tasks) == ["SUCCESS", "BLOCKED", "RUNNING"]


def test_a_task_that_is_to_run_later_is_left_to_its_time() -> None:
    tasks, worker = errands(2), Worker()
    [first] = start_all(tasks)
    Errand.objects.filter(pk=tasks[1].pk).update(run_after=clock.after("default", 3600))

    worker.end(first)

    assert statuses(tasks) == ["SUCCESS", "PENDING"]
    assert worker.threads == 1


def test_a_task_whose_key_has_changed_needs_a_place_of_the_other_one() -> None:
    tasks, worker = errands(2), Worker()
    [first] = start_all(tasks)
    changed = row_of(tasks[1])
    changed.customer = "b"
    changed.save()

    worker.end(first)

    assert statuses(tasks) == ["SUCCESS", "PENDING"]
    assert worker.threads == 1


def test_a_rate_counts_a_start_when_it_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(1, key="{customer}", rate="1000000/s")
    monkeypatch.setattr(Errand, "django_simpletask3_limit", limit)
    tasks, worker = errands(2), Worker()

    worker.end(start_all(tasks)[0])

    assert statuses(tasks) == ["SUCCESS", "PENDING"]


def test_a_task_that_was_unblocked_meanwhile_is_left_to_its_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, worker = errands(3), Worker()
    [first] = start_all(tasks)
    load = hand_over._load

    def load_and_unblock(*arguments: Any) -> Any:
        loaded = load(*arguments)
        if row_of(tasks[1]).status == Errand.BLOCKED:
            apply(row_of(tasks[1]), EventKind.UNBLOCK)
        return loaded

    monkeypatch.setattr(hand_over, "_load", load_and_unblock)

    worker.end(first)

    assert kinds(tasks[1]) == ["enqueue", "block", "unblock"]
    assert statuses(tasks) == ["SUCCESS", "PENDING", "RUNNING"]
    assert worker.accepted == [tasks[2]]
    assert held() == [(str(tasks[2].pk), 1)]


def test_a_start_that_cannot_be_recorded_costs_neither_the_outcome_nor_a_thread() -> None:
    tasks, worker = errands(2), Worker()
    [first] = start_all(tasks)

    def refuse(event: Any, **_: Any) -> None:
        if event.kind == EventKind.START:
            raise ValueError("no")

    event_recorded.connect(refuse, sender=Errand)
    try:
        assert not worker.end(first)
    finally:
        event_recorded.disconnect(refuse, sender=Errand)

    assert statuses(tasks) == ["SUCCESS", "BLOCKED"]
    assert kinds(tasks[1]) == ["enqueue", "block"]
    assert worker.threads == 1
    assert not worker.accepted
    assert waiting() == [str(tasks[1].pk)]


def test_a_transaction_that_is_rolled_back_starts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, worker = errands(2), Worker()
    [first] = start_all(tasks)
    insert = hand_over._Service._insert_places

    def fail_once(self: Any, moves: Any) -> None:
        monkeypatch.setattr(hand_over._Service, "_insert_places", insert)
        raise OperationalError("the connection was cut")

    monkeypatch.setattr(hand_over._Service, "_insert_places", fail_once)
    perform(first)
    with pytest.raises(OperationalError):
        finish([first], worker.successors)
    assert statuses(tasks) == ["RUNNING", "BLOCKED"]
    assert worker.threads == 1

    assert not finish([first], worker.successors)

    assert kinds(tasks[1]) == ["enqueue", "block", "unblock", "start"]
    assert worker.accepted == [tasks[1]]


def test_a_start_whose_commit_was_not_answered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, worker = errands(2), Worker()
    [first] = start_all(tasks)

    class Unanswered:
        """The transactions of this module are committed, but nothing follows."""

        @staticmethod
        def on_commit(work: Any, using: str) -> None:
            """Forget ``work``."""

    monkeypatch.setattr(successors, "transaction", Unanswered)

    worker.end(first)

    assert kinds(tasks[1]) == ["enqueue", "block", "unblock", "start"]
    assert worker.accepted == [tasks[1]]
    assert worker.threads == 1


def test_no_signal_says_start_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, worker = errands(2), Worker()
    accepted_in_transaction: list[bool] = []
    take = worker._take

    def note(taken: Sequence[TaskRow], threads: int) -> None:
        accepted_in_transaction.append(transaction.get_connection().in_atomic_block)
        take(taken, threads)

    worker.successors._host = Host(
        "w1", LEASE, lambda task, using: True, worker._reserve, worker._give_back, note
    )

    worker.end(start_all(tasks)[0])

    assert accepted_in_transaction == [False]


def test_nothing_is_pushed_for_a_task_that_has_started_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, worker = errands(2), Worker()
    pushed: list[str] = []
    monkeypatch.setattr(
        after_commit, "push_messages", lambda messages: pushed.extend(m.id for m in messages)
    )

    worker.end(start_all(tasks)[0])
    [run] = worker.runs()
    worker.end(run)

    assert statuses(tasks) == ["SUCCESS", "SUCCESS"]
    assert not pushed

"""Many at once, on real connections: what must happen once happens once."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connections, transaction

from django_simpletask3.exceptions import TaskHeld, TransitionRefused
from django_simpletask3.ledger.projection import broken_links, fold
from django_simpletask3.limits.tables import LimitGate
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.best_effort import apply_each
from django_simpletask3.transitions.transition import Transition
from django_simpletask3.transitions.writer import apply, apply_all
from tests.eventually import eventually
from tests.limits.steps import start_all
from tests.steps import (
    apply_kinds,
    bring_to,
    create_task,
    kinds,
    message_count,
    projection_of,
    row_of,
    stream_of,
)
from tests.testapp.models import Errand, Invoice, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 12


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each of ``works`` returned or raised; all begin together, each in a thread."""
    line = threading.Barrier(len(works))
    outcomes: list[Any] = [None] * len(works)

    def run(number: int, work: Callable[[], Any]) -> None:
        try:
            connections["default"].ensure_connection()
            line.wait(20)
            outcomes[number] = work()
        except Exception as error:
            outcomes[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def refused(outcomes: list[Any]) -> list[Any]:
    return [outcome for outcome in outcomes if isinstance(outcome, TransitionRefused)]


def holds(task: Any) -> bool:
    """Whether row and stream of ``task`` tell the same, unbroken story."""
    return fold(stream_of(task)) == projection_of(task) and not broken_links(stream_of(task))


def test_one_of_twelve_claims() -> None:
    task = create_task(Invoice)
    copies = [row_of(task) for _ in range(THREADS)]

    outcomes = at_once(
        *(lambda c=c, n=n: apply(c, EventKind.START, worker=f"w{n}") for n, c in enumerate(copies))
    )

    (winner,) = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
    assert len(refused(outcomes)) == THREADS - 1
    assert (row_of(task).worker, row_of(task).attempt) == (f"w{winner}", 1)
    assert kinds(task) == ["enqueue", "start"]
    assert holds(task)


def test_each_of_many_tasks_is_claimed_once_by_batches_that_overlap() -> None:
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(40)])

    def claim(worker: str) -> list[Any]:
        moves = [Transition(row_of(task), EventKind.START, worker=worker) for task in tasks]
        if worker == "w1":
            moves.reverse()
        apply_all(moves)
        return [move.task.pk for move in moves if move.event is not None]

    outcomes = at_once(*(lambda n=n: claim(f"w{n}") for n in range(4)))

    claimed = [pk for outcome in outcomes for pk in outcome]
    assert sorted(claimed) == sorted(task.pk for task in tasks)
    assert all(kinds(task) == ["enqueue", "start"] for task in tasks)


@pytest.mark.parametrize("round_", range(4))
def test_either_a_cancellation_or_a_result_wins(round_: int) -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    for_cancel, for_ack = row_of(task), row_of(task)

    outcomes = at_once(
        for_cancel.cancel, lambda: apply(for_ack, EventKind.ACK, worker="w1", result="OK")
    )

    assert len(refused(outcomes)) == 1
    assert kinds(task) in (
        ["enqueue", "start", "ack"],
        ["enqueue", "start", "cancel", "reject"],
    )
    assert (row_of(task).result_data == "OK") == (row_of(task).status == Status.SUCCESS)
    assert holds(task)


def test_everybodys_notes_are_kept() -> None:
    task = create_task(Invoice)
    copies = [row_of(task) for _ in range(THREADS)]

    outcomes = at_once(*(lambda c=c, n=n: c.note(number=n) for n, c in enumerate(copies)))

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert {event.data["number"] for event in stream_of(task)[1:]} == set(range(THREADS))
    assert holds(task)


@pytest.mark.skipif("postgresql" not in settings.DATABASES["default"]["ENGINE"], reason="one batch")
def test_what_tasks_of_several_statements_share_is_locked_in_one_order() -> None:
    """Else two workers wait for each other that finish tasks of the same limits."""
    first, second = start_all(Errand.objects.enqueue(customer=name) for name in "ab")
    low, high = LimitGate.objects.order_by("pk")
    ack, retry = (
        Transition(run.task, kind, worker="w1", last_known_row=run.last_known_row)
        for run, kind in ((second, EventKind.ACK), (first, EventKind.RETRY))
    )
    pids: list[int] = []

    def finish() -> None:
        pids.append(connections["default"].connection.info.backend_pid)
        apply_each([ack, retry])

    with transaction.atomic():
        LimitGate.objects.select_for_update().get(pk=low.pk)
        thread = threading.Thread(target=at_once, args=[finish])
        thread.start()
        eventually(lambda: pids and is_blocked(pids[0]))
        free = LimitGate.objects.select_for_update(skip_locked=True).filter(pk=high.pk).exists()
    thread.join()

    assert free
    assert [row_of(run.task).status for run in (first, second)] == [Status.PENDING, Status.SUCCESS]


def is_blocked(pid: int) -> bool:
    """Whether the session of PostgreSQL with this ``pid`` waits for a lock of another."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid])
        return bool(cursor.fetchone()[0])


@pytest.mark.skipif("sqlite" not in settings.DATABASES["default"]["ENGINE"], reason="rows lock")
def test_many_writers_of_a_deferred_database_wait_for_each_other() -> None:
    tasks = [create_task(Invoice) for _ in range(4)]

    def work(task: Any) -> None:
        connections["default"].transaction_mode = None
        for number in range(20):
            task.note(number=number)
            create_task(TextKeyed)

    outcomes = at_once(*(lambda task=task: work(task) for task in tasks))

    assert outcomes == [None] * len(tasks)
    assert all(len(kinds(task)) == 21 for task in tasks)


def test_a_result_that_is_reported_twice_at_once_is_recorded_once() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    copies = [row_of(task) for _ in range(4)]

    outcomes = at_once(
        *(lambda c=c: apply(c, EventKind.ACK, worker="w1", result="OK") for c in copies)
    )

    assert {outcome.pk for outcome in outcomes} == {stream_of(task)[-1].pk}
    assert kinds(task) == ["enqueue", "start", "ack"]


def test_one_key_is_born_once() -> None:
    works = [lambda: TextKeyed(id="order 17").save() for _ in range(4)]

    outcomes = at_once(*works)

    assert [outcome for outcome in outcomes if outcome is None] == [None]
    assert kinds(TextKeyed.objects.get()) == ["enqueue"]
    assert message_count(TextKeyed) == 1


def test_a_reset_beats_or_follows_a_result_and_the_task_runs_again() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    for_reset, for_ack = row_of(task), row_of(task)

    outcomes = at_once(
        for_reset.reset, lambda: apply(for_ack, EventKind.ACK, worker="w1", result="OK")
    )

    assert not [o for o in outcomes if isinstance(o, OperationalError)]
    assert row_of(task).status == Status.PENDING
    assert holds(task)
    assert message_count(task) == 1


def test_a_deletion_and_a_result_leave_one_story() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    pk, for_delete, for_ack = task.pk, row_of(task), row_of(task)

    at_once(for_delete.delete, lambda: apply(for_ack, EventKind.ACK, worker="w1"))

    assert row_of(task) is None
    assert kinds(task, pk) in (
        ["enqueue", "start", "delete"],
        ["enqueue", "start", "ack", "delete"],
    )
    assert broken_links(stream_of(task, pk)) == []


@pytest.mark.skipif("sqlite" in settings.DATABASES["default"]["ENGINE"], reason="one writer")
def test_a_deletion_waits_for_a_hold_that_is_being_put() -> None:
    task = create_task(Invoice)
    for_hold, for_delete = row_of(task), row_of(task)
    is_held, is_waiting = threading.Event(), threading.Event()

    def watch(execute: Any, sql: str, *rest: Any) -> Any:
        if "FOR UPDATE" in sql:
            is_waiting.set()
        return execute(sql, *rest)

    def hold() -> None:
        with transaction.atomic():
            for_hold.hold()
            is_held.set()
            assert is_waiting.wait(20)

    def delete() -> None:
        assert is_held.wait(20)
        with connections["default"].execute_wrapper(watch):
            for_delete.delete()

    outcomes = at_once(hold, delete)

    assert [type(outcome) for outcome in outcomes] == [type(None), TaskHeld]
    assert kinds(task) == ["enqueue", "hold"]
    assert holds(task)


def test_saving_own_columns_and_moving_do_not_disturb_each_other() -> None:
    task = create_task(Invoice)
    editor, mover = row_of(task), row_of(task)
    editor.amount = 99

    outcomes = at_once(editor.save, lambda: apply_kinds(mover, EventKind.START, EventKind.ACK))

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert (row_of(task).amount, row_of(task).status) == (99, Status.SUCCESS)
    assert holds(task)

"""A batch writes the given values, whichever store a database has: one suite for all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.db.backends import store_for
from django_simpletask3.db.inserts import insert_all
from django_simpletask3.db.postgresql.store import PostgresStore
from django_simpletask3.db.store import Change, Store
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.ledger import outbox
from django_simpletask3.ledger.subscribers import subscribe, unsubscribe
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.best_effort import apply_each
from django_simpletask3.transitions.transition import Transition, known_row
from tests.steps import create_task, kinds, row_of, stream_of
from tests.testapp.models import Audited, Customer, Invoice, Letter

pytestmark = pytest.mark.django_db(transaction=True)

TERSE = store_for(Invoice, "default").has_batch_statements
KINDS = {"portable": Store, "of this database": type(store_for(Invoice, "default"))}
VALUES: dict[str, dict[str, Any]] = {
    "texts": {"task_biz_field": "é\u2028\"'\\%s {0}", "worker": "a:1:b"},
    "nothing": {"task_biz_field": None, "result_data": None},
    "numbers": {"amount": -(2**31), "fails": True, "priority": 7},
    "times": {"run_after": datetime(2026, 2, 28, 23, 59, 59, 999999, UTC)},
    "values": {"result_data": {"a": [1, "\x00", {"b": None}]}, "error_data": "x" * 10_000},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def the_store(request: Any) -> Store:
    return request.param(Invoice, "default")


def change_of(task: Invoice, columns: dict[str, Any]) -> Change:
    """A change of the row of ``task`` to ``columns``, with an event."""
    note = Transition(task, EventKind.NOTE).plan(known_row(task), clock.now("default"))
    return note._replace(columns={"sequence": task.sequence + 1, **columns})


def write_changes(store: Store, changes: list[Change]) -> set[Any]:
    with transaction.atomic():
        return store.update_with_events(changes, locked=True)


@pytest.mark.parametrize("columns", VALUES.values(), ids=VALUES.keys())
def test_a_row_says_what_it_was_reported(the_store: Store, columns: dict[str, Any]) -> None:
    tasks = [create_task(Invoice) for _ in range(3)]

    written = write_changes(the_store, [change_of(task, columns) for task in tasks])

    assert written == {task.pk for task in tasks}
    for task in tasks:
        assert kinds(task) == ["enqueue", "note"]
        row = row_of(task)
        assert {name: getattr(row, name) for name in columns} == columns


def test_an_hour_that_comes_twice_is_not_one_hour(the_store: Store) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    moments = [first, first.replace(fold=1)]
    tasks = [create_task(Invoice) for _ in moments]

    pairs = zip(tasks, moments, strict=True)
    write_changes(the_store, [change_of(t, {"run_after": moment}) for t, moment in pairs])

    early, late = [row_of(task).run_after for task in tasks]
    assert late - early == timedelta(hours=1)


def test_nothing_is_written_if_a_locked_row_has_changed(the_store: Store) -> None:
    first, second = create_task(Invoice), create_task(Invoice)
    row_of(second).note()

    with pytest.raises(StaleTask):
        write_changes(the_store, [change_of(task, {"amount": 5}) for task in (first, second)])

    assert (row_of(first).amount, row_of(second).amount) == (0, 0)
    assert (kinds(first), kinds(second)) == (["enqueue"], ["enqueue", "note"])


def test_a_relation_is_written_by_the_name_of_its_column(the_store: Store) -> None:
    customer, letters = Customer.objects.create(name="a"), [create_task(Letter) for _ in range(2)]
    store = type(the_store)(Letter, "default")

    write_changes(store, [change_of(task, {"customer_id": customer.pk}) for task in letters])

    assert [row_of(task).customer for task in letters] == [customer] * 2


def test_a_column_of_the_users_events_that_acts_when_it_is_saved_does_so() -> None:
    tasks = [create_task(Audited), *Audited.objects.bulk_create([Audited() for _ in range(2)])]
    moves = [Transition(task, EventKind.START, worker="w1") for task in tasks]

    apply_each(moves)

    events = [event for task in tasks for event in stream_of(task)]
    assert len(events) == 6
    assert all(event.written is not None for event in events)


def test_values_that_only_django_can_convert_are_written_by_django(the_store: Store) -> None:
    task = create_task(Invoice, amount=3)

    written = write_changes(the_store, [change_of(task, {"amount": F("amount") + 4})])

    assert (written, row_of(task).amount) == ({task.pk}, 7)
    assert kinds(task) == ["enqueue", "note"]


def test_values_that_only_django_can_convert_are_not_written_without_a_lock(
    the_store: Store,
) -> None:
    task = create_task(Invoice, amount=3)

    written = the_store.update_with_events([change_of(task, {"amount": F("amount") + 4})])

    assert (written, row_of(task).amount, kinds(task)) == (set(), 3, ["enqueue"])


def test_several_events_of_one_row_are_inserted_in_order(the_store: Store) -> None:
    task = create_task(Invoice)
    first = change_of(task, {})
    later = Transition(task, EventKind.NOTE).plan(
        {**known_row(task), "sequence": 2, "digest": first.event.digest}, clock.now("default")
    )

    write_changes(the_store, [first.then(later)])

    assert [event.sequence for event in stream_of(task)] == [1, 2, 3]
    assert row_of(task).sequence == 3


def test_a_row_without_new_values_gets_its_event(the_store: Store) -> None:
    task = create_task(Invoice)
    deletion = Transition(task, EventKind.DELETE).plan(known_row(task), clock.now("default"))

    assert write_changes(the_store, [deletion]) == {task.pk}
    assert kinds(task) == ["enqueue", "delete"]


def test_events_have_their_keys_when_they_are_there(the_store: Store) -> None:
    tasks = [create_task(Invoice) for _ in range(3)]
    events = []
    for task in tasks:
        [event] = stream_of(task)
        event.pk, event.sequence, event._state.adding = None, 2, True
        event.data = {"said": "\ud800 é"}
        events.append(event)

    the_store.append(events)

    assert [stream_of(task)[-1].pk for task in tasks] == [event.pk for event in events]
    assert {repr(stream_of(task)[-1].data) for task in tasks} == {repr({"said": "\ud800 é"})}


@pytest.mark.skipif(not TERSE, reason="rows are read first here")
class TestUnread:
    """Moves of rows that were not read again."""

    def claims(self, tasks: list[Invoice]) -> list[Transition]:
        return [
            Transition(
                task,
                EventKind.START,
                worker="w1",
                data={"claim": "c"},
                last_known_row=known_row(task),
            )
            for task in tasks
        ]

    def test_a_batch_is_one_statement(self, django_assert_num_queries: Any) -> None:
        moves = self.claims([create_task(Invoice) for _ in range(5)])

        with django_assert_num_queries(1):
            apply_each(moves)

        assert {row_of(move.task).status for move in moves} == {Status.RUNNING}
        assert [kinds(move.task) for move in moves] == [["enqueue", "start"]] * 5

    def test_a_receiver_that_raises_undoes_a_batch(self, request: Any) -> None:
        def refuse(**_: Any) -> None:
            raise ValueError("not this one")

        moves = self.claims([create_task(Invoice) for _ in range(2)])
        event_recorded.connect(refuse, sender=Invoice)
        request.addfinalizer(lambda: event_recorded.disconnect(refuse, sender=Invoice))

        apply_each(moves)

        assert [str(move.error) for move in moves] == ["not this one"] * 2
        assert [kinds(move.task) for move in moves] == [["enqueue"]] * 2
        assert [move.task.status for move in moves] == [Status.PENDING] * 2
        assert {row_of(move.task).status for move in moves} == {Status.PENDING}

    def test_a_subscriber_is_reported_in_the_same_transaction(self, request: Any) -> None:
        moves = self.claims([create_task(Invoice)])
        subscribe("audit", Invoice)(print)
        request.addfinalizer(lambda: unsubscribe("audit"))

        with CaptureQueriesContext(connection) as made:
            apply_each(moves)

        verbs = [query["sql"].split()[0] for query in made]
        assert verbs == ["BEGIN", "WITH", "INSERT", "COMMIT"]
        assert [delivery.kind for delivery in outbox.all_deliveries("default")] == [EventKind.START]

    def test_what_a_statement_has_made_stays_if_the_next_one_fails(self, monkeypatch: Any) -> None:
        first, second = self.claims([create_task(Invoice), create_task(Invoice)])
        second.values = {"amount": 7}
        move, made = PostgresStore.update_with_events, []

        def move_once(*args: Any, **options: Any) -> Any:
            if made:
                raise OperationalError("gone")
            made.append(args)
            return move(*args, **options)

        monkeypatch.setattr(PostgresStore, "update_with_events", move_once)
        apply_each([first, second])

        assert [kinds(each.task) for each in (first, second)] == [["enqueue", "start"], ["enqueue"]]
        assert (first.error, str(second.error)) == (None, "gone")
        assert (first.event is None, second.event is None) == (False, True)
        assert (first.task.status, second.task.status) == (Status.RUNNING, Status.PENDING)

    def test_what_is_not_as_it_was_known_is_read_and_judged(self) -> None:
        tasks = [create_task(Invoice) for _ in range(3)]
        moves = self.claims(tasks)
        row_of(tasks[1]).note("looked at")
        row_of(tasks[2]).cancel()

        with CaptureQueriesContext(connection) as made:
            apply_each(moves)

        verbs = [query["sql"].split()[0] for query in made]
        assert verbs == ["WITH", "BEGIN", "SELECT", "WITH", "COMMIT"]
        assert [kinds(task)[1:] for task in tasks] == [["start"], ["note", "start"], ["cancel"]]
        assert [move.refusal is None for move in moves] == [True, True, False]

    def test_two_moves_of_one_task_are_made_one_after_the_other(self) -> None:
        task = create_task(Invoice)
        moves = [*self.claims([task]), *self.claims([task])]
        moves[1].data = {"claim": "another"}

        apply_each(moves)

        assert kinds(task) == ["enqueue", "start"]
        assert moves[1].refusal is not None

    def test_a_locked_row_is_skipped(self, held_row: Any) -> None:
        free, held = create_task(Invoice), create_task(Invoice)
        moves = self.claims([held, free])

        with held_row(held):
            apply_each(moves)

        assert kinds(free) == ["enqueue", "start"]
        assert moves[0].error is not None
        assert kinds(held) == ["enqueue"]

    def test_a_single_locked_row_is_skipped(self, held_row: Any) -> None:
        held = create_task(Invoice)
        [claim] = self.claims([held])
        change = claim.plan(known_row(held), clock.now("default"))

        with held_row(held), connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
            moved = store_for(Invoice, "default").update_with_events([change])
            cursor.execute("RESET lock_timeout")

        assert (moved, kinds(held)) == (set(), ["enqueue"])

    def test_a_single_row_that_changed_is_not_written(self) -> None:
        task = create_task(Invoice)
        [claim] = self.claims([task])
        change = claim.plan(known_row(task), clock.now("default"))
        row_of(task).note("looked at")

        moved = store_for(Invoice, "default").update_with_events([change])

        assert (moved, row_of(task).status) == (set(), Status.PENDING)


@pytest.fixture
def held_row() -> Callable[[Invoice], AbstractContextManager[None]]:
    """A context in which another session has locked the row of a task."""

    @contextmanager
    def hold(task: Invoice) -> Iterator[None]:
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT 1 FROM testapp_invoice WHERE id = %s FOR UPDATE", [task.pk])
            yield
        finally:
            other.close()

    return hold


def test_rows_get_their_keys_in_the_order_in_which_they_were_given() -> None:
    tasks = [Invoice(amount=number) for number in range(2500)]

    Invoice.objects.bulk_create(tasks, batch_size=1000)

    stored = dict(Invoice.objects.values_list("pk", "amount"))
    assert [stored[task.pk] for task in tasks] == list(range(2500))
    assert len({task.pk for task in tasks}) == 2500


def test_rows_whose_keys_are_known_are_left_to_django() -> None:
    assert not insert_all([Invoice(pk=4711)], "default")

    Invoice.objects.bulk_create([Invoice(pk=4711)])

    assert kinds(Invoice.objects.get(pk=4711)) == ["enqueue"]

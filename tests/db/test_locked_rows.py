"""A batch of rows: read under lock, and written back if they did not change meanwhile."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, models
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db.locked_rows import LockedRows
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.transition import Transition, known_row
from django_simpletask3.transitions.writer import apply_all
from tests.steps import bring_to, create_task, row_of
from tests.testapp.models import Customer, ForeignInvoice, Invoice, Letter, Ticket, UuidKeyed

pytestmark = pytest.mark.django_db


def running(number: int, model: type[Any] = Invoice) -> list[Any]:
    return [bring_to(create_task(model), Status.RUNNING) for _ in range(number)]


def acknowledged(tasks: list[Any], results: list[Any], **details: Any) -> list[Any]:
    """The rows of ``tasks`` after one batch gave them ``results``."""
    apply_all(
        [
            Transition(task, EventKind.ACK, worker="w1", result=result, **details)
            for task, result in zip(tasks, results, strict=True)
        ]
    )
    return [row_of(task) for task in tasks]


def changes(made: CaptureQueriesContext) -> int:
    """How many statements changed the database; one statement for many rows counts once."""
    return len([query for query in made if re.search(r"UPDATE \S+ (AS \S+ )?SET", query["sql"])])


@pytest.mark.parametrize(
    "results",
    [
        [[1], [True], [1.0]],
        [{"a": 0}, {"a": False}, {"a": -0.0}],
        [1, True, 1.0],
        [Decimal("1.0"), Decimal("1.00"), Decimal("sNaN")],
        ["", None, 0],
        ["same", "same", "same"],
        [None, None, None],
    ],
    ids=repr,
)
def test_each_of_a_batch_gets_its_own_value_also_if_others_are_equal(results: list[Any]) -> None:
    rows = acknowledged(running(3), results)

    assert [repr(row.result_data) for row in rows] == [repr(result) for result in results]


def test_a_batch_may_write_expressions() -> None:
    tasks = running(2)
    moves = [
        Transition(tasks[0], EventKind.ACK, worker="w1", values={"amount": F("amount") + 5}),
        Transition(tasks[1], EventKind.ACK, worker="w1", values={"amount": 7}),
    ]

    apply_all(moves)

    assert [row_of(task).amount for task in tasks] == [5, 7]


def test_a_child_table_gets_the_columns_that_are_its_own() -> None:
    tasks = running(2, ForeignInvoice)
    moves = [
        Transition(tasks[0], EventKind.ACK, worker="w1", values={"amount": 1, "currency": "USD"}),
        Transition(tasks[1], EventKind.ACK, worker="w1", values={"amount": 2, "currency": "EUR"}),
    ]

    apply_all(moves)

    assert [(row_of(t).amount, row_of(t).currency) for t in tasks] == [(1, "USD"), (2, "EUR")]


def test_an_expression_for_a_child_table_is_written_once() -> None:
    (task,) = running(1, ForeignInvoice)
    doubled = Concat("currency", Value("+"), output_field=models.CharField())
    moves = [
        Transition(row_of(task), EventKind.NOTE),
        Transition(Invoice.objects.get(pk=task.pk), EventKind.NOTE),
        Transition(task, EventKind.ACK, worker="w1", values={"currency": doubled}),
    ]
    models.QuerySet(ForeignInvoice).update(currency="C")

    apply_all(moves)

    assert row_of(task).currency == "C+"


@pytest.mark.parametrize("number", [1, 3])
def test_a_parent_that_is_no_task_gets_the_columns_that_are_its_own(number: int) -> None:
    tasks = running(number, Ticket)

    acknowledged(tasks, [None] * number, values={"title": "opera", "price": 12})

    assert {(row_of(t).title, row_of(t).price) for t in tasks} == {("opera", 12)}


@pytest.mark.parametrize("number", [1, 3])
def test_a_relation_is_written_by_the_name_of_its_column(number: int) -> None:
    customer, tasks = Customer.objects.create(name="a"), running(number, Letter)

    acknowledged(tasks, [None] * number, values={"customer_id": customer.pk})

    assert {row_of(task).customer for task in tasks} == {customer}


def test_rows_that_change_alike_are_written_in_one_statement() -> None:
    tasks = running(20)

    with CaptureQueriesContext(connections["default"]) as made:
        acknowledged(tasks, list(range(20)))

    assert changes(made) == 1


@pytest.mark.thorough
def test_the_rows_of_one_statement_are_bounded() -> None:
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(1500)])

    with CaptureQueriesContext(connections["default"]) as made:
        apply_all([Transition(task, EventKind.RESET) for task in tasks])

    assert changes(made) == 3
    assert {row.sequence for row in models.QuerySet(Invoice)} == {2}


@pytest.mark.thorough
def test_five_hundred_rows_are_one_batch() -> None:
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(500)])

    apply_all([Transition(task, EventKind.START, worker="w1") for task in tasks])
    rows = acknowledged(tasks, [{"n": n} for n in range(500)])

    assert [row.result_data for row in rows] == [{"n": n} for n in range(500)]


def test_a_row_that_was_moved_after_it_was_read_is_not_written() -> None:
    first, second = running(2)
    rows = LockedRows(Invoice, "default", [first.pk, second.pk])
    rows.read(["sequence", "status"])
    models.QuerySet(Invoice).filter(pk=second.pk).update(sequence=9)
    for task in (first, second):
        note = Transition(task, EventKind.NOTE).plan(known_row(task), task.mod_time)
        rows.change(note._replace(columns={"sequence": 3, "worker": "w2"}))

    with pytest.raises(StaleTask):
        rows.write([first, second])

    assert row_of(second).worker == "w1"


@pytest.mark.parametrize("spelling", ["{}", "{{{}}}", "{.hex}"])
def test_a_row_is_found_by_any_spelling_of_its_key(spelling: str) -> None:
    task = create_task(UuidKeyed)
    task.pk = spelling.format(task.pk)

    task.cancel()

    assert row_of(task).status == Status.CANCELED

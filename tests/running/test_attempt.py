"""Events that a task function records itself, and the outcome after them."""

from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction

from django_simpletask3.execution.finish import finish
from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.models import SimpleTask
from tests.running.conftest import Perform, finished, statements_of
from tests.steps import kinds, row_of, status_of, stream_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)

#: PostgreSQL updates a row that has not changed, and inserts the event, in one statement.
one_statement = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="several statements here"
)


class Undone(Exception):
    """Rolls back a transaction."""


@one_statement
def test_a_note_and_the_outcome_after_it_are_one_statement_each(perform_function: Perform) -> None:
    made: list[str] = []

    def function(task: Any) -> None:
        task.note("reads the context of the task")
        made.extend(statements_of(lambda: task.note("here")))

    run = perform_function(function)

    assert made == ["WITH"]
    assert statements_of(lambda: finish([run])) == ["WITH"]
    assert kinds(run.task) == ["enqueue", "start", "note", "note", "ack"]


@one_statement
def test_the_outcome_after_a_note_in_a_transaction_is_one_statement(
    perform_function: Perform,
) -> None:
    run = perform_function(transaction.atomic(lambda task: task.note("here").sequence))

    assert statements_of(lambda: finish([run])) == ["WITH"]
    assert row_of(run.task).result_data == 3


def test_the_outcome_follows_what_came_after_a_note_that_was_rolled_back(
    perform_function: Perform,
) -> None:
    def function(task: Any) -> None:
        with suppress(Undone), transaction.atomic():
            task.note("never was")
            raise Undone
        Invoice.objects.get(pk=task.pk).note("with the same number")

    task = finished(perform_function(function))

    assert [event.reason for event in stream_of(task)] == ["", "", "with the same number", ""]
    assert broken_links(stream_of(task)) == []


def test_the_outcome_follows_a_note_of_another_process(perform_function: Perform) -> None:
    def function(task: Any) -> None:
        task.note("mine")
        Invoice.objects.get(pk=task.pk).note("not mine")

    run = perform_function(function)

    assert broken_links(stream_of(finished(run))) == []
    assert status_of(run.task) == SimpleTask.SUCCESS


def test_a_note_of_a_copy_is_in_the_stream_of_the_copy(perform_function: Perform) -> None:
    def function(task: Any) -> Any:
        task.pk = None
        task._state.adding = True
        task.save()
        task.note("a copy")
        return task.pk

    task = finished(perform_function(function))

    assert kinds(task) == ["enqueue", "start", "ack"]
    assert kinds(task, task.result_data) == ["enqueue", "note"]

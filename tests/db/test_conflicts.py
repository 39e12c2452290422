"""The package repeats its own transactions that lost against others."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_simpletask3.db.conflicts import is_conflict, repeat_on_conflict
from tests.steps import kinds
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)

SERIALIZABLE = {
    "postgresql": "SET default_transaction_isolation TO 'serializable'",
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
}
THREADS, NOTES = 4, 10


def in_threads(work: Callable[[], None]) -> list[Exception]:
    """The errors of ``work`` in several threads at once."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_notes_of_serializable_sessions_do_not_fail(redis_url: str) -> None:
    task = Invoice.objects.create()

    def take_notes() -> None:
        with connection.cursor() as cursor:
            cursor.execute(SERIALIZABLE[connection.vendor])
        for _ in range(NOTES):
            Invoice.objects.get(pk=task.pk).note("seen")

    assert in_threads(take_notes) == []
    assert kinds(task).count("note") == THREADS * NOTES


class Conflict(Exception):
    sqlstate = "40001"


def test_a_conflict_within_a_transaction_of_the_caller_is_raised_at_once() -> None:
    calls: list[int] = []

    def lose() -> Any:
        calls.append(1)
        raise OperationalError("could not serialize access") from Conflict()

    with pytest.raises(OperationalError), transaction.atomic():
        repeat_on_conflict("default", lose)
    assert len(calls) == 1
    with pytest.raises(OperationalError):
        repeat_on_conflict("default", lose)
    assert len(calls) > 3


def test_other_errors_are_no_conflicts() -> None:
    assert not is_conflict(OperationalError("no such table"))

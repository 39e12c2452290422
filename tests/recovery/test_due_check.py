"""Many tasks that wait for a later time cost the search for those that are due nothing."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.execution.start import start_from_table, start_without_queue
from django_simpletask3.recovery import due_check, lost_messages, service
from django_simpletask3.states import EventKind, Status
from tests.steps import apply_kinds
from tests.testapp.models import Invoice, Offer

#: By hand also with a million; the figures are in docs/how-to/run-later.md.
ROWS = int(os.environ.get("SIMPLETASK3_TEST_FUTURE_ROWS", "20000"))
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)"
NUMBERS = {
    "postgresql": "generate_series(1, %s) AS n(i)",
    "sqlite": f"({_NUMBERS} SELECT i FROM n) AS n",
    "mysql": f"({_NUMBERS} SELECT i FROM n) AS n",
}
LATER = {
    "postgresql": "TIMESTAMPTZ '2099-01-01 00:00:00+00' + i * INTERVAL '1 second'",
    "sqlite": "datetime(4070908800 + i, 'unixepoch')",
    "mysql": "TIMESTAMP '2099-01-01 00:00:00' + INTERVAL i SECOND",
}
OVERDUE = {vendor: sql.replace("2099", "2020") for vendor, sql in LATER.items()} | {
    "sqlite": "datetime(1577836800 + i, 'unixepoch')"
}
ANALYZE = {"postgresql": "ANALYZE {}", "sqlite": "ANALYZE {}", "mysql": "ANALYZE TABLE {}"}
SEARCHES: dict[str, Callable[[], object]] = {
    "due check": lambda: due_check.read_due_times("default", [Invoice]),
    "push": service.push_overdue,
    "start without Redis": lambda: start_without_queue(
        Invoice, "default", 10, worker="w", lease=60
    ),
    "burst": lambda: start_from_table(Invoice, "default", 10, worker="w", lease=60, tried=set()),
    "loss of Redis": lambda: lost_messages.distrust_messages(Invoice, "default", 500),
}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


def insert_future_tasks(number: int, times: dict[str, str] = LATER, model: Any = Invoice) -> None:
    """Insert copies of a row that wait for different times, far in the future."""
    task = model.objects.create(run_after=clock.after("default", 3600))
    quote, table = connection.ops.quote_name, connection.ops.quote_name(model._meta.db_table)
    names = [field.column for field in model._meta.concrete_fields if not field.primary_key]
    values = [
        times[connection.vendor] if name in ("run_after", "check_at") else f"t.{quote(name)}"
        for name in names
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION max_recursive_iterations = 100000000")
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(map(quote, names))}) SELECT {', '.join(values)} "
            f"FROM {NUMBERS[connection.vendor]} CROSS JOIN {table} AS t",
            [number],
        )
    task.delete()


def rows_read(action: Callable[[], object]) -> int:
    """How many rows the statements of ``action`` read; on SQLite, thousands of virtual steps."""
    if connection.vendor == "sqlite":
        steps: list[None] = []
        connection.connection.set_progress_handler(lambda: steps.append(None), 1000)
        action()
        connection.connection.set_progress_handler(None, 0)
        return len(steps)
    if connection.vendor == "mysql":
        before = _handler_reads()
        action()
        return _handler_reads() - before
    with CaptureQueriesContext(connection) as queries:
        action()
    return sum(_rows_of_plan(q["sql"]) for q in queries if q["sql"].startswith("SELECT"))


def _handler_reads() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in cursor.fetchall())


def _rows_of_plan(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        [[plan]] = cursor.fetchall()
    return _rows_of_node((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])


def _rows_of_node(node: dict[str, Any]) -> int:
    own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return int(own) + sum(map(_rows_of_node, node.get("Plans", [])))


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["new", "analyzed"])
def test_future_rows_are_not_read_to_find_those_that_are_due(
    redis_url: str, is_analyzed: bool
) -> None:
    insert_future_tasks(ROWS)
    if is_analyzed:
        with connection.cursor() as cursor:
            cursor.execute(ANALYZE[connection.vendor].format(Invoice._meta.db_table))
            cursor.fetchall() if connection.vendor == "mysql" else None
    for search in SEARCHES.values():
        search()

    read = {name: rows_read(search) for name, search in SEARCHES.items()}

    assert Invoice.objects.count() == ROWS
    assert all(number < 60 for number in read.values()), read


def test_among_future_rows_those_that_run_or_are_due_are_found(redis_url: str) -> None:
    insert_future_tasks(50)
    first = due_check.read_due_times("default", [Invoice])
    running = apply_kinds(
        Invoice.objects.create(),
        EventKind.START,
        values={"check_at": clock.after("default", 5)},
    )
    due = Invoice.objects.create(run_after=clock.after("default", -5))

    found = due_check.read_due_times("default", [Invoice])

    assert (first.running_check_at, first.pending_check_at.year) == (None, 2099)
    assert [first.is_due(s) for s in (Status.PENDING, Status.RUNNING)] == [False, False]
    assert (found.running_check_at, found.pending_check_at) == (running.check_at, due.check_at)


def test_overdue_rows_are_not_read_to_find_those_that_run(redis_url: str) -> None:
    """Of a model whose tasks may expire, blocked ones are looked for, too."""
    insert_future_tasks(ROWS, OVERDUE, Offer)

    def search() -> object:
        return due_check.read_due_times("default", [Offer])

    search()
    read = rows_read(search)

    assert Offer.objects.due().count() == ROWS
    assert read < 60

"""Many tasks that wait for a later time, and what the searches for those that are due read."""

import json
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.execution.due_tasks import TriedRows, start_from_table
from django_simpletask3.recovery import due_check, lost_messages, service
from tests.testapp.models import Invoice

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)"
_NUMBERS_FROM = {
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
#: Within the next hour.
SOON = {
    "postgresql": "now() + INTERVAL '20 minutes' + i * INTERVAL '0.1 second'",
    "sqlite": "datetime('now', '+20 minutes', (i / 10) || ' seconds')",
    "mysql": "UTC_TIMESTAMP(6) + INTERVAL 1200 + i / 10 SECOND",
}
_ANALYZE = {"postgresql": "ANALYZE {}", "sqlite": "ANALYZE {}", "mysql": "ANALYZE TABLE {}"}


def look_at_table(*, only_overdue: bool) -> object:
    """A worker's search for tasks without messages."""
    options: Any = {"worker": "w", "lease": 60, "tried": TriedRows()}
    return start_from_table(Invoice, "default", 10, only_overdue=only_overdue, **options)


SEARCHES: dict[str, Callable[[], object]] = {
    "due check": lambda: due_check.read_due_times("default", [Invoice]),
    "push": service.push_overdue,
    "start without Redis": lambda: look_at_table(only_overdue=True),
    "burst": lambda: look_at_table(only_overdue=False),
    "loss of Redis": lambda: lost_messages.distrust_messages(Invoice, "default", 500),
}


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
            f"FROM {_NUMBERS_FROM[connection.vendor]} CROSS JOIN {table} AS t",
            [number],
        )
    task.delete()


def rows_read(action: Callable[[], object], model: Any = Invoice) -> int:
    """How many rows ``action`` reads from the table; on SQLite, thousands of virtual steps."""
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
    table = model._meta.db_table
    return sum(_rows_of_plan(q["sql"], table) for q in queries if f'"{table}"' in q["sql"])


def _handler_reads() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in cursor.fetchall())


def _rows_of_plan(sql: str, table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        [[plan]] = cursor.fetchall()
    return _rows_of_node((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"], table)


def _rows_of_node(node: dict[str, Any], table: str) -> int:
    own = 0
    if node.get("Relation Name") == table:
        per_loop = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        own = int(per_loop * node["Actual Loops"])
    return own + sum(_rows_of_node(child, table) for child in node.get("Plans", []))


def plan_of(sql: str) -> list[str]:
    """The plan of a statement, one line per step."""
    explain = {"postgresql": "EXPLAIN ANALYZE", "sqlite": "EXPLAIN QUERY PLAN", "mysql": "EXPLAIN"}
    with connection.cursor() as cursor:
        cursor.execute(f"{explain[connection.vendor]} {sql}")
        rows = cursor.fetchall()
    return [" ".join(map(str, row)) for row in rows]


def analyze() -> None:
    """Have the database collect statistics of the table."""
    with connection.cursor() as cursor:
        cursor.execute(_ANALYZE[connection.vendor].format(Invoice._meta.db_table))
        cursor.fetchall() if connection.vendor == "mysql" else None

"""``python -m benchmarks.admin --database postgres://... --tasks 1000000``

Measure each admin page on big tables: statements, milliseconds, and whether PostgreSQL would scan a
big table sequentially. Creates a database of its own on the server and drops it. The database
generates the tasks, with three events each: they are spread over thirty days, one in a hundred
failed, one in a thousand was recovered, a thousand wait and a hundred run.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIG = ("testapp_invoice", "testapp_invoiceevent")
SPAN = "interval '30 days'"
TASKS = f"""
INSERT INTO testapp_invoice (status, attempt, sequence, digest, start_time, done_time, success,
  result_data, error_data, result_time, add_time, mod_time, run_after, priority, worker, parent,
  check_at, amount, fails, task_biz_field)
SELECT
  CASE WHEN n > {{rows}} - 1000 THEN 0 WHEN n > {{rows}} - 1100 THEN 10
    WHEN n % 100 = 0 THEN 30 WHEN n % 997 = 0 THEN 40 ELSE 20 END,
  1, 3, repeat('0', 64), added + interval '2 seconds',
  CASE WHEN n > {{rows}} - 1100 THEN NULL ELSE added + interval '3 seconds' END,
  CASE WHEN n > {{rows}} - 1100 THEN NULL ELSE n % 100 <> 0 END,
  '{{{{"sum": 3}}}}',
  CASE WHEN n % 100 = 0 THEN '{{{{"type":"ValueError","message":"' || repeat('no ', 40)
    || '","traceback":"' || repeat('line ', 400) || '"}}}}' END,
  NULL, added, added, NULL, 0,
  'node-' || n % 8 || ':4711:start', NULL,
  CASE WHEN n > {{rows}} - 1100 THEN now() + interval '60 seconds' ELSE NULL END,
  n % 1000, false, ''
FROM (SELECT n, now() - {SPAN} + {SPAN} * n / {{rows}} - interval '5 seconds' AS added
  FROM generate_series(1, {{rows}}) AS n) AS generated
"""
EVENTS = """
INSERT INTO testapp_invoiceevent (task_id, sequence, kind, from_status, to_status, attempt,
  event_time, worker, actor, reason, data, digest)
SELECT id, step,
  CASE WHEN step = 1 THEN 'enqueue' WHEN step = 2 AND id % 1000 = 7 THEN 'recover'
    WHEN step = 2 THEN 'start' WHEN status = 30 THEN 'fail' WHEN status = 40 THEN 'cancel'
    WHEN status = 20 THEN 'ack' ELSE 'note' END,
  CASE step WHEN 2 THEN 0 WHEN 3 THEN 10 END,
  CASE step WHEN 1 THEN 0 WHEN 2 THEN 10 ELSE status END,
  CASE step WHEN 1 THEN 0 ELSE 1 END, add_time + step * interval '1 second' - interval '1 second',
  CASE step WHEN 1 THEN '' ELSE worker END, 'root',
  CASE WHEN step = 2 AND id % 1000 = 7 THEN 'worker_died' ELSE '' END, NULL, repeat('0', 64)
FROM testapp_invoice, generate_series(1, 3) AS step
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin", description=__doc__)
    parser.add_argument("--database", required=True, help="postgres://user@host:port/name")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5, help="how often each page is opened")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "SIMPLETASK3_TEST_DATABASE": options.database,
    }
    with _database():
        _load(options.tasks)
        report = [_measure(name, url, options.times) for name, url in _pages()]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.tasks} tasks"
    print(f"{machine}, {3 * options.tasks} events")
    print("| page | statements | ms, first | ms, median | ms, max | scans a big table |")
    print("|---|---|---|---|---|---|")
    for row in report:
        scanned = ", ".join(row["scanned"]) or "no"
        cells = (row["page"], row["statements"], row["first"], row["ms"], row["max"], scanned)
        print("| " + " | ".join(map(str, cells)) + " |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "pages": report}, indent=2))
    return int(any(row["scanned"] for row in report))


@contextmanager
def _database() -> Iterator[None]:
    """Set up the tests' project with databases of its own."""
    import django

    django.setup()
    from django.conf import settings
    from django.test.utils import get_runner

    runner = get_runner(settings)(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    try:
        yield
    finally:
        runner.teardown_databases(databases)


def _load(rows: int) -> None:
    from django.contrib.auth.models import User
    from django.db import connection

    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(TASKS.format(rows=rows))
        cursor.execute(EVENTS)
        cursor.execute("VACUUM ANALYZE")
    User.objects.create_superuser("root")
    print(f"{rows} tasks created in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _pages() -> list[tuple[str, str]]:
    from django.urls import reverse

    from tests.testapp.models import Invoice

    task = Invoice.objects.order_by("-pk")[5000]
    tasks = reverse("admin:testapp_invoice_changelist")
    board = reverse("admin:django_simpletask3_dashboard_changelist")
    recoveries = reverse("admin:django_simpletask3_dashboard_recoveries")
    done = task.done_time
    assert done is not None
    day = f"done_time__year={done.year}&done_time__month={done.month}&done_time__day={done.day}"
    return [
        ("list", tasks),
        ("list, page 100", f"{tasks}?p=100"),
        *((f"list, {s}", f"{tasks}?task-state={s}") for s in ("waiting", "scheduled", "running")),
        *((f"list, {s}", f"{tasks}?task-state={s}") for s in ("succeeded", "failed", "canceled")),
        ("list, of a day", f"{tasks}?{day}"),
        ("list, done today", f"{tasks}?task-time=done-today"),
        ("list, enqueued this week", f"{tasks}?task-time=enqueued-week"),
        ("list, an error", f"{tasks}?task-error=no+such+error"),
        ("list, a worker", f"{tasks}?task-worker=node-3"),
        ("list, enqueued by me", f"{tasks}?task-actor=me"),
        ("task", reverse("admin:testapp_invoice_change", args=[task.pk])),
        ("task, timeline", reverse("admin:testapp_invoice_timeline", args=[task.pk])),
        *(
            (f"dashboard, {period}", f"{board}?period={period}")
            for period in ("hour", "day", "week")
        ),
        ("dashboard, month", f"{board}?period=month"),
        ("recoveries", recoveries),
        ("recoveries, of a reason", f"{recoveries}?reason=worker_died&kind=recover"),
    ]


def _measure(name: str, url: str, times: int) -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client()
    client.force_login(User.objects.get(username="root"))
    taken = []
    for _ in range(times + 1):
        began = time.monotonic()
        response = client.get(url)
        taken.append((time.monotonic() - began) * 1000)
        assert response.status_code == 200, (url, response.status_code)
    with CaptureQueriesContext(connection) as captured:
        client.get(url)
    scanned = {
        table for query in captured.captured_queries for table in _scanned_big_tables(query["sql"])
    }
    return {
        "page": name,
        "statements": len(captured),
        "first": round(taken[0]),
        "ms": round(statistics.median(taken[1:])),
        "max": round(max(taken[1:])),
        "scanned": sorted(scanned),
    }


def _scanned_big_tables(sql: str) -> Iterator[str]:
    """Yield the big tables that PostgreSQL would scan sequentially for this statement."""
    from django.db import connection

    if not sql.startswith("SELECT"):
        return
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) " + sql, None)
        ((plan,),) = cursor.fetchall()
    for table in BIG:
        if any(
            node == table
            for node in _scanned_tables(json.loads(plan) if isinstance(plan, str) else plan)
        ):
            yield table


def _scanned_tables(plan: Any) -> Iterator[str]:
    if isinstance(plan, list):
        for part in plan:
            yield from _scanned_tables(part)
    elif isinstance(plan, dict):
        if plan.get("Node Type") == "Seq Scan":
            yield plan["Relation Name"]
        for part in plan.values():
            yield from _scanned_tables(part)


if __name__ == "__main__":
    sys.exit(main())

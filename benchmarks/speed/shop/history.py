"""Create millions of waiting and finished tasks, and time a worker's periodic queries on them.

``python -m benchmarks.speed.shop.history fill WAITING EVENTS``, ``catch_up``,
``periodic_queries TIMES`` and ``push_all``, with the environment variables of a contender.
PostgreSQL only: the database itself generates the rows.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django

_BATCH = 500
_HEX = "md5(n::text) || md5((-n)::text)"
_COLUMNS = (
    "status, attempt, sequence, digest, start_time, done_time, success, result_data, error_data,"
    " result_time, add_time, mod_time, run_after, priority, worker, parent, check_at, text"
)
#: Finished within the last thirty days. The due checks of waiting tasks are spread over the next
#: hour in the order of their creation, starting in the middle, as for an old backlog.
DONE = f"""
INSERT INTO bench_noop ({_COLUMNS})
SELECT 20, 1, 3, {_HEX}, added, added + interval '1 second', true, 'null', NULL,
  added + interval '1 second', added, added + interval '1 second', NULL, 0, 'node:4711:' || n %% 8,
  NULL, NULL, 'task ' || n
FROM (SELECT n, now() - interval '30 days' + interval '30 days' * n / %(rows)s
    - interval '2 seconds' AS added FROM generate_series(1, %(rows)s) AS n) AS generated
"""
WAITING = f"""
INSERT INTO bench_noop ({_COLUMNS})
SELECT 0, 0, 1, {_HEX}, NULL, NULL, NULL, NULL, NULL, NULL, added, added, NULL, 0, '', NULL,
  now() + interval '1 hour' * ((n + %(rows)s / 2) %% %(rows)s) / %(rows)s, 'task ' || n
FROM (SELECT n, now() - interval '2 hours' AS added FROM generate_series(1, %(rows)s) AS n)
  AS generated
"""
EVENTS = """
INSERT INTO bench_noopevent (task_id, sequence, kind, from_status, to_status, attempt, event_time,
  worker, actor, reason, data, digest)
SELECT id, step, CASE step WHEN 1 THEN 'enqueue' WHEN 2 THEN 'start' ELSE 'ack' END,
  CASE step WHEN 2 THEN 0 WHEN 3 THEN 10 END, step * 10 - 10, CASE step WHEN 1 THEN 0 ELSE 1 END,
  add_time + interval '1 second' * (step - 1) / 2, CASE step WHEN 1 THEN '' ELSE worker END, '', '',
  CASE step WHEN 1 THEN '{}' ELSE '{"seconds": 0.000123}' END, digest
FROM bench_noop, generate_series(1, 3) AS step WHERE step <= sequence
"""


def fill(waiting: int, events: int) -> dict[str, Any]:
    """Create waiting tasks with their messages, and finished ones up to that many events."""
    from django.db import connection

    done = max(0, (events - waiting) // 3)
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(DONE, {"rows": done})
        cursor.execute(WAITING, {"rows": waiting})
        cursor.execute(EVENTS)
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
        _push()
        cursor.execute("SELECT (SELECT count(*) FROM bench_noop), count(*) FROM bench_noopevent")
        rows, streams = cursor.fetchone()
    return {"tasks": rows, "events": streams, "seconds": time.monotonic() - began}


def _push() -> None:
    from benchmarks.speed.shop.models import Noop
    from django_simpletask3.queue import get_queue

    queue, channel = get_queue(), Noop.get_event_channel()
    last = 0
    while pks := list(
        Noop.objects.pending()
        .filter(pk__gt=last)
        .order_by("pk")
        .values_list("pk", flat=True)[:5000]
    ):
        tasks = [Noop(pk=pk) for pk in pks]
        queue.push(channel, [(task.get_task_id(), task.get_task_data()) for task in tasks])
        last = pks[-1]


def catch_up() -> dict[str, Any]:
    """Do the due checks that were missed while no worker was running."""
    from benchmarks.speed.shop.models import Noop
    from django_simpletask3.recovery import service

    while Noop.objects.pending().lost().count() > _BATCH:
        service.push_overdue()
    return {}


def periodic_queries(times: int) -> dict[str, list[float]]:
    """Return the milliseconds of each periodic query, repeated every second as in a worker."""
    from django_simpletask3.monitoring.health import snapshot
    from django_simpletask3.recovery import service

    catch_up()
    queries: dict[str, Callable[[], object]] = {
        "recovery: expired leases": service.recover_expired_leases,
        "recovery: dead workers of this host": lambda: service.recover_dead_local_workers(
            lambda worker: False
        ),
        "recovery: expired claims of messages": service.requeue_expired_claims,
        "recovery: reset of Redis": service.detect_redis_reset,
        "due tasks, and missing messages": service.push_overdue,
        "status": snapshot,
    }
    taken: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(times + 1):
        for name, query in queries.items():
            began = time.perf_counter()
            query()
            taken[name].append((time.perf_counter() - began) * 1000)
        time.sleep(1.0)
    # The first call of each connects and compiles.
    return {name: each[1:] for name, each in taken.items()}


def push_all() -> dict[str, list[float]]:
    """Time one batch of due checks while the due checks of all waiting tasks are due."""
    from django.db import connection

    from django_simpletask3.recovery import service

    with connection.cursor() as cursor:
        cursor.execute("UPDATE bench_noop SET check_at = now() WHERE status = 0")
        cursor.execute("VACUUM ANALYZE bench_noop")
    began = time.perf_counter()
    service.push_overdue()
    return {"due tasks, all due checks at once": [(time.perf_counter() - began) * 1000]}


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb for verb in (fill, catch_up, periodic_queries, push_all)
}

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.speed.shop.settings"
    django.setup()
    print(json.dumps(VERBS[sys.argv[1]](*map(int, sys.argv[2:]))))

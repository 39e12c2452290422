"""This package, set up as documented; ``contenders`` describes the verbs."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import django

from benchmarks.speed import timing

STORES = (
    "a row with status, times, result and error, and three events chained by digests: enqueue, "
    "start and finish, each committed when it happens"
)
FINAL = "SELECT count(*) FROM bench_noop WHERE status >= 20"
OUTCOME = "SELECT 1 FROM bench_noop WHERE id = %s AND status >= 20"
DELIVERED = "(SELECT count(*) FROM django_simpletask3_delivery)"


def describe() -> dict[str, Any]:
    import redis

    import django_simpletask3

    return {
        "name": "django-simpletask3",
        "versions": {
            "django-simpletask3": django_simpletask3.__version__,
            "Django": django.get_version(),
            "redis-py": redis.__version__,
        },
        "variants": ["plain"],
        "stores": STORES,
        "needs_redis": True,
        "needs_database": True,
        "finished_sql": f"{FINAL} - {DELIVERED}" if _feature() == "subscription" else FINAL,
    }


def prepare() -> dict[str, Any]:
    from django.core.management import call_command

    _set_up()
    from django_simpletask3.queue import get_queue

    call_command("migrate", run_syncdb=True, verbosity=0)
    # As if a node had run before: otherwise the worker takes Redis for one that has been reset.
    get_queue().write_marker()
    return {}


def enqueue(count: int) -> dict[str, Any]:
    _set_up()
    with _context():
        return timing.time_each(_save, count)


def bulk(count: int) -> dict[str, Any]:
    _set_up()
    with _context():
        return timing.time_batches(_bulk_create, count)


def calls(count: int) -> dict[str, Any]:
    """Return how many functions of Python one save enters, in the median of ``count``."""
    _set_up()
    return {"calls": statistics.median(timing.count_calls(_save, count))}


def turns() -> None:
    """Enqueue as the lines of the input say, in one process that stays warm."""
    _set_up()
    cases: dict[str, Callable[[int], dict[str, Any]]] = {
        "save": partial(timing.time_each, _save),
        "enqueue": partial(timing.time_each, _enqueue),
        "atomic": partial(timing.time_each, _save_in_transaction),
        "threads": timing.Threads(_save).time_each,
        "bulk_create": partial(timing.time_batches, _bulk_create),
        "bulk_enqueue": partial(timing.time_batches, _bulk_enqueue),
        "outcomes": partial(timing.measure_outcomes, _save, OUTCOME),
    }
    with _context():
        timing.take_turns(cases)


def _save(number: int) -> Any:
    task = _noop()(text=f"task {number}")
    task.save()
    return task.pk


def _save_in_transaction(number: int) -> None:
    from django.db import transaction

    with transaction.atomic():
        _save(number)


def _enqueue(number: int) -> None:
    _noop().objects.enqueue(text=f"task {number}")


def _bulk_create(size: int) -> None:
    noop = _noop()
    noop.objects.bulk_create([noop(text=f"task {number}") for number in range(size)])


def _bulk_enqueue(size: int) -> None:
    _noop().objects.bulk_enqueue([{"text": f"task {number}"} for number in range(size)])


def produce(seconds: int, rate: int) -> dict[str, Any]:
    """Enqueue ``rate`` tasks per second, one by one; return their number."""
    _set_up()
    began, count = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while count < passed * rate:
            _save(count)
            count += 1
        time.sleep(0.01)
    return {"tasks": count}


def worker() -> None:
    processes = os.environ.get("BENCH_PROCESSES", "1")
    threads = os.environ.get("BENCH_THREADS", "10")
    os.environ.setdefault("DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER", threads)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.speed.shop.settings"
    command = ["django-simpletask3-server", "--processes", processes, "--verbosity", "0"]
    os.execv(sys.executable, [sys.executable, "-m", "django", *command])


def finished() -> dict[str, Any]:
    from django.db import connection

    _set_up()
    with connection.cursor() as cursor:
        cursor.execute(describe()["finished_sql"])
        return {"finished": cursor.fetchone()[0]}


def latency(count: int) -> dict[str, Any]:
    _set_up()
    return timing.measure_latencies(_save, count)


def _context() -> AbstractContextManager[object]:
    from benchmarks.speed.shop.features import enqueue_context

    return enqueue_context(_feature())


def _feature() -> str:
    return os.environ.get("BENCH_FEATURE", "")


def _set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.speed.shop.settings"
    django.setup()


def _noop() -> Any:
    from benchmarks.speed.shop.models import Noop

    return Noop


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        describe,
        prepare,
        enqueue,
        bulk,
        calls,
        turns,
        produce,
        worker,
        finished,
        latency,
    )
}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](*map(int, sys.argv[2:]))))

"""The verbs of every peer; peers differ in how they enqueue and in their worker."""

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.speed import timing
from benchmarks.speed.contenders import launcher

#: The argument of a task: its text, or the key of its own row.
Argument = str | int
PACKAGE = "benchmarks.speed.contenders"
OUTCOME_OF_ROW = "SELECT 1 FROM bench_ledger_entry WHERE id = %s AND status = 'success'"


@dataclass(frozen=True)
class Peer:
    """A task queue, set up as its documentation recommends, in the package ``project``."""

    project: str
    name: str
    distributions: Sequence[str]
    #: What a task stores in the variant plain.
    stores: str
    #: What it stores in the variant row, besides the row.
    stores_with_row: str
    enqueue: Callable[[Argument], object]
    #: Returns the command of a worker for these threads and processes, and how many to start.
    worker: Callable[[int, int], tuple[Sequence[str], int]]
    #: The package of its settings, if not ``project``.
    settings: str = ""
    bulk: Callable[[Sequence[Argument]], object] | None = None
    finished_sql: str | None = None
    #: Finds a row if the task whose key ``enqueue`` returned has ended.
    outcome_sql: str | None = None
    #: Counts the outcomes, if they are not in the database.
    finished: Callable[[], int] | None = None
    variants: Sequence[str] = ("plain", "row")
    needs_redis: bool = True
    #: Whether tasks are in the database, so that they are committed together with the row.
    transactional: bool = False


def run(peer: Peer) -> None:
    """Run the verb of the command line and print its answer."""
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{PACKAGE}.{peer.settings or peer.project}.settings"
    verbs: dict[str, Callable[..., Any]] = {
        verb.__name__: verb
        for verb in (describe, prepare, enqueue, bulk, turns, worker, finished, latency)
    }
    print(json.dumps(verbs[sys.argv[1]](peer, *map(int, sys.argv[2:]))))


def describe(peer: Peer) -> dict[str, Any]:
    distributions = (*peer.distributions, "Django")
    return {
        "name": peer.name,
        "versions": {name: importlib.metadata.version(name) for name in distributions},
        "variants": list(peer.variants),
        "stores": f"its own row; {peer.stores_with_row}" if has_row() else peer.stores,
        "needs_redis": peer.needs_redis,
        "needs_database": True,
        "finished_sql": _finished_sql(peer),
    }


def prepare(peer: Peer) -> dict[str, Any]:
    from django.core.management import call_command

    _set_up(peer)
    call_command("migrate", run_syncdb=True, verbosity=0)
    return {}


def enqueue(peer: Peer, count: int) -> dict[str, Any]:
    _set_up(peer)
    return timing.time_each(_enqueue_one(peer), count)


def bulk(peer: Peer, count: int) -> dict[str, Any]:
    if peer.bulk is None:
        return {"seconds": None, "tasks": 0}
    _set_up(peer)
    enqueue = _enqueue_many(peer, peer.bulk)
    enqueue(timing.WARM_UP)
    return timing.time_batches(enqueue, count) | {"warm_up": timing.WARM_UP}


def turns(peer: Peer) -> None:
    """Enqueue as the lines of the input say, in one process that stays warm."""
    from django.db import transaction

    _set_up(peer)
    enqueue = _enqueue_one(peer)
    cases: dict[str, Callable[[int], dict[str, Any]]] = {
        "enqueue": partial(timing.time_each, enqueue),
        "atomic": partial(timing.time_each, transaction.atomic(enqueue)),
        "threads": timing.Threads(enqueue).time_each,
    }
    if peer.bulk is not None:
        cases["bulk"] = partial(timing.time_batches, _enqueue_many(peer, peer.bulk))
    if sql := OUTCOME_OF_ROW if has_row() else peer.outcome_sql:
        cases["outcomes"] = partial(timing.measure_outcomes, enqueue, sql)
    timing.take_turns(cases)


def worker(peer: Peer) -> None:
    threads, processes = (
        int(os.environ.get(f"BENCH_{name}", default))
        for name, default in (("THREADS", "10"), ("PROCESSES", "1"))
    )
    launcher.exec_worker(*peer.worker(threads, processes))


def finished(peer: Peer) -> dict[str, Any]:
    _set_up(peer)
    if sql := _finished_sql(peer):
        return {"finished": _number(sql)}
    assert peer.finished
    return {"finished": peer.finished()}


def latency(peer: Peer, count: int) -> dict[str, Any]:
    _set_up(peer)
    enqueue = _enqueue_one(peer)
    timing.measure_latencies(enqueue, 1)  # opens the connections
    return timing.measure_latencies(enqueue, count)


def django_command(*arguments: str) -> Sequence[str]:
    """Return the command line of a management command."""
    return (sys.executable, "-m", "django", *arguments)


def _enqueue_one(peer: Peer) -> Callable[[int], object]:
    """Return the function that enqueues one task, and returns its key or that of its own row."""
    if not has_row():
        return lambda number: peer.enqueue(f"task {number}")
    from benchmarks.speed.contenders.status_row.models import Entry

    def enqueue_with_row(number: int) -> int:
        with _transaction(peer):
            pk: int = Entry._default_manager.create(text=f"task {number}").pk
            peer.enqueue(pk)
        return pk

    return enqueue_with_row


def _enqueue_many(
    peer: Peer, bulk: Callable[[Sequence[Argument]], object]
) -> Callable[[int], object]:
    """Return the function that enqueues many tasks in one call."""
    if not has_row():
        return lambda size: bulk([f"task {number}" for number in range(size)])
    from benchmarks.speed.contenders.status_row.models import Entry

    def enqueue_with_row(size: int) -> None:
        entries = [Entry(text=f"task {number}") for number in range(size)]
        with _transaction(peer):
            bulk([entry.pk for entry in Entry._default_manager.bulk_create(entries)])

    return enqueue_with_row


def _transaction(peer: Peer) -> AbstractContextManager[object]:
    from django.db import transaction

    return transaction.atomic() if peer.transactional else nullcontext()


def _finished_sql(peer: Peer) -> str | None:
    if has_row():
        return "SELECT count(*) FROM bench_ledger_entry WHERE status = 'success'"
    return peer.finished_sql


def _number(sql: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def has_row() -> bool:
    """Whether the task keeps its outcome in a row of the project."""
    return os.environ.get("BENCH_VARIANT", "plain") == "row"


def _set_up(peer: Peer) -> None:
    """Load the project and its task, so that no import is timed."""
    import django

    django.setup()
    importlib.import_module(f"{PACKAGE}.{peer.project}.tasks")

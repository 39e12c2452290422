"""What every peer answers to; peers differ in how they enqueue and how they work."""

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from benchmarks.speed import timing
from benchmarks.speed.contenders import launcher

#: What a task is given: its text, or the key of the row written by hand.
Argument = str | int
PACKAGE = "benchmarks.speed.contenders"


@dataclass(frozen=True)
class Peer:
    """A task queue, set up as its documentation says in the package that ``project`` names."""

    project: str
    name: str
    distributions: Sequence[str]
    #: What is stored per task, in the variant plain.
    stores: str
    #: The same of the variant row, but the row.
    stores_with_row: str
    enqueue: Callable[[Argument], object]
    #: The command of the worker for so many threads and processes, and how many of it to run.
    worker: Callable[[int, int], tuple[Sequence[str], int]]
    #: The package whose settings it takes, if they are not those of the project.
    settings: str = ""
    bulk: Callable[[Sequence[Argument]], object] | None = None
    finished_sql: str | None = None
    #: Counts the outcomes, if they are not in the database.
    finished: Callable[[], int] | None = None
    variants: Sequence[str] = ("plain", "row")
    needs_redis: bool = True
    #: The tasks are in the database, so that they can be committed together with the row.
    transactional: bool = False


def run(peer: Peer) -> None:
    """Do what the command line says, and print the answer."""
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{PACKAGE}.{peer.settings or peer.project}.settings"
    verbs: dict[str, Callable[..., Any]] = {
        verb.__name__: verb
        for verb in (describe, prepare, enqueue, bulk, worker, finished, latency)
    }
    print(json.dumps(verbs[sys.argv[1]](peer, *map(int, sys.argv[2:]))))


def describe(peer: Peer) -> dict[str, Any]:
    wanted = (*peer.distributions, "Django")
    return {
        "name": peer.name,
        "versions": {name: importlib.metadata.version(name) for name in wanted},
        "variants": list(peer.variants),
        "stores": f"its own row, written by hand; {peer.stores_with_row}"
        if _row()
        else peer.stores,
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
    return timing.time_each(_one(peer), count)


def bulk(peer: Peer, count: int) -> dict[str, Any]:
    if peer.bulk is None:
        return {"seconds": None, "tasks": 0}
    _set_up(peer)
    enqueue = _many(peer, peer.bulk)
    enqueue(timing.WARM_UP)
    return timing.time_batches(enqueue, count) | {"warm_up": timing.WARM_UP}


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
    enqueue = _one(peer)
    timing.measure_latencies(enqueue, 1)  # the connections are there from here on
    return timing.measure_latencies(enqueue, count)


def django_command(*words: str) -> Sequence[str]:
    """A management command, run by this interpreter."""
    return (sys.executable, "-m", "django", *words)


def _one(peer: Peer) -> Callable[[int], object]:
    """How a project enqueues the task of a number."""
    if not _row():
        return lambda number: peer.enqueue(f"task {number}")
    from benchmarks.speed.contenders.status_row.models import Entry

    def written(number: int) -> None:
        with _together(peer):
            peer.enqueue(Entry.objects.create(text=f"task {number}").pk)

    return written


def _many(peer: Peer, bulk: Callable[[Sequence[Argument]], object]) -> Callable[[int], object]:
    """How a project enqueues so many at once."""
    if not _row():
        return lambda size: bulk([f"task {number}" for number in range(size)])
    from benchmarks.speed.contenders.status_row.models import Entry

    def written(size: int) -> None:
        entries = [Entry(text=f"task {number}") for number in range(size)]
        with _together(peer):
            bulk([entry.pk for entry in Entry.objects.bulk_create(entries)])

    return written


def _together(peer: Peer) -> AbstractContextManager[object]:
    from django.db import transaction

    return transaction.atomic() if peer.transactional else nullcontext()


def _finished_sql(peer: Peer) -> str | None:
    if _row():
        return "SELECT count(*) FROM bench_ledger_entry WHERE status = 'success'"
    return peer.finished_sql


def _number(sql: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def _row() -> bool:
    return os.environ.get("BENCH_VARIANT", "plain") == "row"


def _set_up(peer: Peer) -> None:
    """Load the project, with its task, so that no import is timed."""
    import django

    django.setup()
    importlib.import_module(f"{PACKAGE}.{peer.project}.tasks")

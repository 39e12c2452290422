"""Start and stop a process of a node again and again in one interpreter, and say what is left.

``python -m tests.worker.start_stop_cycles NUMBER`` prints what there was before and after, as JSON.
"""

import gc
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import django
import redis

from tests.eventually import eventually

WARM_UP = 8
AT_A_TIME = 4
CONNECTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
}


def main(number: int) -> None:
    django.setup()
    go_round(WARM_UP)
    before = counted()
    go_round(number)
    json.dump({"before": before, "after": counted()}, sys.stdout)


def go_round(number: int) -> None:
    """``number`` rounds, several at a time: they mostly wait."""
    from django_simpletask3.worker.maintenance.jobs import shared_schedule

    shared = shared_schedule()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda _: one_round(shared), range(number)))


def one_round(shared: Any) -> None:
    """Save a few tasks, start a process, and stop it when they have run."""
    from django.db import connections

    try:
        tasks = [model.objects.create() for model in models()]
        run_until(shared, lambda: all(map(has_succeeded, tasks)))
    finally:
        connections.close_all()


def has_succeeded(task: Any) -> bool:
    return bool(type(task).objects.filter(pk=task.pk).succeeded().exists())


def models() -> list[Any]:
    from tests.testapp.models import Elsewhere, Invoice

    return [Invoice, Elsewhere]


def run_until(shared: Any, is_over: Callable[[], bool]) -> None:
    from django_simpletask3.worker.loop import StopRequest
    from django_simpletask3.worker.node.counters import Counters
    from django_simpletask3.worker.process import Process, ProcessPlan

    stop = StopRequest()
    plan = ProcessPlan([(model, 1) for model in models()], shared)
    process = Process(plan, worker="node:1:round", stop=stop, counters=Counters())
    thread = threading.Thread(target=process.run)
    thread.start()
    eventually(is_over)
    stop.request()
    thread.join()


def counted() -> dict[str, Any]:
    """What there is of everything that could be left behind."""
    from django.conf import settings
    from django.db import connections

    from django_simpletask3.queue import get_queue

    # The threads of databases end when the process that uses them is collected.
    gc.collect()
    helpers = [thread for thread in threading.enumerate() if "@" in thread.name]
    for thread in helpers:
        thread.join(5)
    # Idle connections are closed: what remains then has leaked.
    get_queue().close()
    connections.close_all()
    with redis.Redis.from_url(settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL) as client:
        return {
            "threads": len(threading.enumerate()),
            "files": len(list(Path("/proc/self/fd").iterdir())),
            "redis clients": len(client.client_list()),
            "redis keys": _lasting_keys(client),
            **{f"connections of {alias}": _connections(alias) for alias in connections},
        }


def _lasting_keys(client: Any) -> dict[str, str]:
    """The keys that do not expire, with what they hold, but for the mark that Redis has its data.

    A maintenance job writes the mark, on a slow machine after the rounds of the warm-up.
    """
    keys = [key for key in client.scan_iter("*") if client.ttl(key) == -1]
    return {key.decode(): repr(client.dump(key)) for key in keys if not key.endswith(b":x:mark")}


def _connections(alias: str) -> int:
    """The sessions that the database server has, this one among them; 0 for a file."""
    from django.db import connections

    if (query := CONNECTIONS.get(connections[alias].vendor)) is None:
        return 0

    def count() -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute(query)
            return int(cursor.fetchone()[0])

    with suppress(AssertionError):  # the server notices a little later that a session has ended
        eventually(lambda: count() == 1, timeout=5)
    return count()


if __name__ == "__main__":
    main(int(sys.argv[1]))

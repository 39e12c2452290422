"""``python -m benchmarks.function_tasks [--database postgres://user@host:port/name]``

What a function of Django's Tasks API costs beside a model task: statements and time of
``enqueue()`` beside those of ``save()``, and the tasks per second of a node, in turn in one run.
The exit code is 1 if a function needs more than 1.3 times the statements, or if fewer than 0.8
times as many run. The program makes a database of its own on the server, and starts a Redis of its
own.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.future_tasks import servers

_MAX_STATEMENTS = 1.3
_MIN_DRAIN = 0.8


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.function_tasks", description=__doc__
    )
    parser.add_argument("--database", default="sqlite", help="also postgres://, mysql://")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with servers(options.database):
        statements = compare_enqueuing(options.rounds)
        drain = compare_drain(options.tasks, options.rounds)
    return int(statements > _MAX_STATEMENTS or drain < _MIN_DRAIN)


def _ways() -> dict[str, Callable[[], object]]:
    from tests.functions.tasks import add
    from tests.testapp.models import Ledger

    return {"save()": lambda: Ledger().save(), "enqueue()": lambda: add.enqueue(1, second=2)}


def compare_enqueuing(rounds: int, tasks: int = 100) -> float:
    """Print what enqueuing costs; the ratio of the statements."""
    ways = _ways()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(tasks):
                way()
            times[name].append((time.perf_counter() - began) / tasks)
    counts = {name: _statements(way) for name, way in ways.items()}
    for name, found in times.items():
        print(f"{name}: {statistics.median(found) * 1e6:.0f} us, {counts[name]} statements")
    model, function = (statistics.median(found) for found in times.values())
    ratio = counts["enqueue()"] / counts["save()"]
    print(f"enqueue() beside save(): {ratio:.2f} of the statements, ", end="")
    print(f"{function / model:.2f} of the time")
    return ratio


def _statements(way: Callable[[], object]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        way()
    return len(queries)


def compare_drain(tasks: int, rounds: int) -> float:
    """Print tasks per second of a node; the median of the ratios of rounds."""
    from django_simpletask3.contrib.tasks.models import FunctionTask
    from tests.testapp.models import Ledger

    speeds: dict[Any, list[float]] = {Ledger: [], FunctionTask: []}
    rows = {"task_path": "tests.functions.tasks.add", "args": [1], "kwargs": {"second": 2}}
    for _ in range(rounds):
        for model, columns in ((Ledger, {}), (FunctionTask, rows)):
            for table in (model, model.event_model):
                table._base_manager.all()._raw_delete("default")
            model.objects.bulk_enqueue([columns] * tasks)
            speeds[model].append(tasks / _run_node(model))
    for model, found in speeds.items():
        print(f"{model.__name__}: {statistics.median(found):.0f} tasks/s")
    pairs = zip(speeds[FunctionTask], speeds[Ledger], strict=True)
    ratio = statistics.median(function / model for function, model in pairs)
    print(f"functions beside model tasks: {ratio:.2f} of the tasks per second")
    return ratio


def _run_node(model: Any) -> float:
    """Run a burst in a process of its own; the seconds from the first start to the last end."""
    from django.db import connections
    from django.db.models import Max, Min

    from django_simpletask3.ledger.event import events_of
    from django_simpletask3.queue import reset_queue

    connections.close_all()
    reset_queue()
    pid = os.fork()
    if pid == 0:
        _run_supervisor(model)
    os.waitpid(pid, 0)
    events = events_of(model, "default").filter(kind__in=["start", "ack"])
    times = events.aggregate(first=Min("event_time"), last=Max("event_time"))
    return float((times["last"] - times["first"]).total_seconds())


def _run_supervisor(model: Any) -> None:
    from django_simpletask3.contrib.tasks.models import FunctionTask
    from django_simpletask3.worker.node.supervisor import Supervisor

    os.setsid()
    # A function of the tests has a limit; most projects have none.
    FunctionTask._declared_limits = classmethod(lambda _: [])  # type: ignore[assignment]
    try:
        Supervisor([model], burst=True).run()
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

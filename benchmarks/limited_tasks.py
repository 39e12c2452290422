"""``python -m benchmarks.limited_tasks [--database postgres://user@host:port/name]``

What limits cost, and how soon a free place is taken: the throughput of a node with a limit that is
not reached beside one without it; with two places and functions of 50 ms the time from the end of
one task to the start of the next, and for what part of the time the places are used; how far rates
are reached; statements per task; and how long ten thousand tasks of one key hold up a task of
another key. The program makes a database of its own on the server, and starts a Redis of its own.
"""

import argparse
import os
import statistics
import sys
import time
from bisect import bisect_left
from typing import Any

from benchmarks.future_tasks import servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limited_tasks", description=__doc__)
    parser.add_argument("--database", default="sqlite", help="also postgres://, mysql://")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=10_000)
    options = parser.parse_args()
    with servers(options.database):
        measure_hand_over()
        for rate, tasks in (("10/s", 100), ("100/s", 1000), ("600/m", 200)):
            measure_rate(rate, tasks)
        compare_throughput(options.tasks, options.rounds)
        count_statements()
        measure_other_key(options.waiting)
    return 0


def compare_throughput(tasks: int, rounds: int) -> None:
    """Print tasks per second of empty functions without a limit, and with one not reached."""
    from django_simpletask3.limits import Limit

    limits = {"no limit": None, "a limit not reached": Limit(2, key="{customer}")}
    speeds: dict[str, list[float]] = {name: [] for name in limits}
    for seconds in (0.0, 0.005):
        for _ in range(rounds):
            for name, limit in limits.items():
                enqueue([f"c{number}" for number in range(tasks)], seconds)
                speeds[name].append(tasks / run_node(limit))
        plain, limited = (statistics.median(found) for found in speeds.values())
        print(f"functions of {seconds * 1000:.0f} ms, tasks/s: no limit {plain:.0f}, ", end="")
        print(f"a limit not reached {limited:.0f} ({limited / plain - 1:+.0%})")
        speeds = {name: [] for name in limits}


def measure_hand_over(tasks: int = 200, seconds: float = 0.05) -> None:
    """Print how soon a free place is taken, and for what part of the time places are used."""
    from django_simpletask3.limits import Limit

    enqueue(["a"] * tasks, seconds)
    run_node(Limit(2, key="{customer}"), until=have_all_ended)
    latencies, used, total = hand_overs()
    p50, p95 = (statistics.quantiles(latencies, n=100)[n] * 1000 for n in (49, 94))
    print(f"from the end of a task to the next start: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    print(f"two places, functions of {seconds * 1000:.0f} ms: used {used / (2 * total):.0%}")


def hand_overs() -> tuple[list[float], float, float]:
    """The times between end and next start at a place, the time they were used, and the whole."""
    from django_simpletask3.ledger.event import events_of
    from tests.testapp.models import Errand

    events = events_of(Errand, "default").filter(kind__in=["start", "ack"])
    places: dict[int, int] = {}
    ended: dict[int, Any] = {}
    latencies, used = [], 0.0
    rows = sorted(
        events.values_list("event_time", "kind", "task_id", "data"), key=lambda row: row[0]
    )
    for moment, kind, task, data in rows:
        if kind == "start":
            places[task] = data["place"]
            if data["place"] in ended:
                latencies.append((moment - ended.pop(data["place"])).total_seconds())
        else:
            ended[places[task]] = moment
            used += data["seconds"]
    return latencies, used, (rows[-1][0] - rows[0][0]).total_seconds()


def measure_rate(rate: str, tasks: int) -> None:
    """Print how fast tasks start under this rate, and how many did in one of its periods."""
    from django_simpletask3.ledger.event import events_of
    from django_simpletask3.limits import Limit
    from django_simpletask3.limits.rate import Rate
    from tests.testapp.models import Errand

    enqueue(["a"] * tasks, 0.0)
    run_node(Limit(rate=rate), until=have_all_ended)
    events = events_of(Errand, "default").filter(kind="start")
    starts = sorted(moment.timestamp() for moment in events.values_list("event_time", flat=True))
    seconds = Rate.parse(rate).seconds
    most = max(bisect_left(starts, start + seconds) - n for n, start in enumerate(starts))
    speed = (len(starts) - 1) / (starts[-1] - starts[0])
    print(f"rate {rate}: {speed * seconds:.1f} starts in a period, {most} at most")


def count_statements() -> None:
    """Print how many statements the start and the end of one task take."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from django_simpletask3.limits import Limit
    from tests.limits.steps import end, start
    from tests.testapp.models import Errand

    def count(work: Any) -> int:
        with CaptureQueriesContext(connection) as queries:
            work()
        return len(queries)

    cases: list[tuple[str, Any, int]] = [
        ("no limit", None, 0),
        ("a limit not reached", Limit(2, key="{customer}"), 0),
        ("a limit reached", Limit(1, key="{customer}"), 2),
    ]
    runs: list[Any] = []
    for name, limit, others in cases:
        Errand.objects.all().delete()
        Errand.django_simpletask3_limit = limit
        first, *rest = [Errand.objects.create(customer=name[:32]) for _ in range(1 + others)]
        started = count(lambda task=first: runs.append(start(task)))
        parked = [count(lambda task=task: start(task)) for task in rest]
        ended = count(lambda: end(runs[-1]))
        print(f"statements, {name}: start {started}, turned away {parked}, end {ended}")


def measure_other_key(waiting: int) -> None:
    """Print how long many tasks of one key hold up one of another key, which is behind them."""
    from django_simpletask3.ledger.event import events_of
    from django_simpletask3.limits import Limit
    from tests.testapp.models import Errand

    enqueue(["a"] * waiting, 0.05)
    other = Errand.objects.create(customer="b")
    began = time.time()
    run_node(Limit(2, key="{customer}"), until=lambda: is_final(other.pk))
    events = {e.kind: e.event_time for e in events_of(Errand, "default").filter(task=other.pk)}
    seconds = events["start"].timestamp() - began
    print(f"behind {waiting} tasks of another key a task started after {seconds:.1f} s")


def enqueue(customers: list[str], seconds: float) -> None:
    """Replace all tasks by new ones of these customers."""
    from django_simpletask3.limits.tables import LimitGate, LimitPlace, LimitWaiter
    from tests.testapp.models import Errand

    for model in (Errand, Errand.event_model, LimitGate, LimitPlace, LimitWaiter):
        model._base_manager.all()._raw_delete("default")
    script = {"do": "work", "seconds": seconds} if seconds else {"do": "value"}
    Errand.objects.bulk_enqueue([{"customer": c, "script": script} for c in customers])


def run_node(limit: Any, until: Any = None) -> float:
    """Run a node in a process of its own until all tasks have ended; the seconds of the tasks."""
    from django.db import connections
    from django.db.models import Max, Min

    from django_simpletask3.ledger.event import events_of
    from django_simpletask3.queue import reset_queue
    from tests.testapp.models import Errand

    connections.close_all()
    reset_queue()
    pid = os.fork()
    if pid == 0:
        run_supervisor(limit, is_burst=until is None)
    if until is not None:
        while not until():
            time.sleep(0.02)
        os.kill(pid, 15)
    os.waitpid(pid, 0)
    events = events_of(Errand, "default").filter(kind__in=["start", "ack"])
    times = events.aggregate(first=Min("event_time"), last=Max("event_time"))
    return float((times["last"] - times["first"]).total_seconds())


def run_supervisor(limit: Any, *, is_burst: bool) -> None:
    from django_simpletask3.worker.node.supervisor import Supervisor
    from tests.testapp.models import Errand

    os.setsid()
    Errand.django_simpletask3_limit = limit
    try:
        Supervisor([Errand], burst=is_burst).run()
    finally:
        os._exit(0)


def have_all_ended() -> bool:
    from tests.testapp.models import Errand

    time.sleep(0.2)
    return not Errand.objects.exclude(status=Errand.SUCCESS).exists()


def is_final(pk: int) -> bool:
    from tests.testapp.models import Errand

    return bool(Errand.objects.get(pk=pk).status.is_final)


if __name__ == "__main__":
    sys.exit(main())

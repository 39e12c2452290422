"""What grows while a worker runs: memory, connections, and what Redis keeps."""

import argparse
import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from benchmarks.speed import machine, processes, trace
from benchmarks.speed.comparison import OURS
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import Measurement
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import print_progress

_PACE = 5.0
_WARM_UP = 0.5
_DAY = 24 * 60 * 60
_MOST_BYTES = 400
_FLAT = 0.20
_TIMEOUT = 300.0
_SLICE = 1000


@dataclass(frozen=True)
class Sample:
    """How things stood at one moment."""

    seconds: float
    rss: float
    pss: float
    sockets: int
    redis_clients: int
    redis_bytes: int
    bodies: int


def run_soak(environment: Environment, asked: argparse.Namespace) -> Report:
    """A worker under a steady load, and what a day of that would come to."""
    size = {"threads": asked.threads, "processes": asked.processes}
    ours = Measurement(environment, Entry("ours", OURS, **size))
    figures = {"minutes": asked.minutes, "rate": asked.rate, **size}
    report = Report(machine.describe(environment), figures)
    url = ours.prepare()
    empty = _redis_bytes(environment)
    with ours.entry.run_worker(environment, url) as worker:
        ours.ask(url, "latency", 20)
        seconds = asked.minutes * 60
        with ours.entry.run_verb(
            environment, url, "produce", round(seconds), asked.rate
        ) as producer:
            began, samples = time.monotonic(), []
            while producer.poll() is None:
                samples.append(_sample(environment, worker.pid, time.monotonic() - began))
                time.sleep(_PACE)
            if producer.returncode or not samples:
                raise ContenderFailed(f"the producer ended: {producer.returncode}")
        stored = ours.ask(url, "describe")["finished_sql"]
        done = trace.count(environment.trace)
        environment.wait_until(stored, done, _TIMEOUT)
    _conclude(report, environment, samples, done, empty)
    return report


def _sample(environment: Environment, pid: int, seconds: float) -> Sample:
    memory = processes.memory(pid)
    sample = Sample(
        seconds,
        memory.rss,
        memory.pss,
        processes.connections(pid),
        int(environment.redis.info("clients")["connected_clients"]),
        _redis_bytes(environment),
        trace.count(environment.trace),
    )
    print_progress(f"{seconds:.0f} s: {sample.bodies} bodies, RSS {sample.rss:.1f} MB")
    return sample


def _redis_bytes(environment: Environment) -> int:
    return int(environment.redis.info("memory")["used_memory"])


def _conclude(
    report: Report, environment: Environment, samples: Sequence[Sample], done: int, empty: int
) -> None:
    steady = [one for one in samples if one.seconds >= samples[-1].seconds * _WARM_UP]
    rate = (steady[-1].bodies - steady[0].bodies) / (steady[-1].seconds - steady[0].seconds)
    for figure in ("rss", "pss", "sockets", "redis_clients", "redis_bytes"):
        report.add(figure.replace("_", " "), _trend(steady, figure))
    report.tables = {
        "Over time": [
            ("first", "at the beginning", 1),
            ("last", "at the end", 1),
            ("largest", "at most", 1),
            ("per hour", "change per hour", 2),
            ("day", "after a day", 0),
        ]
    }
    size = (_redis_bytes(environment) - empty) / done
    growth = report.values("rss", "day")[0] / steady[0].rss - 1
    flat = "flat" if abs(growth) <= _FLAT else "not flat"
    lasting = _lasting(environment)
    sockets, clients = _range(steady, "sockets"), _range(steady, "redis_clients")
    report.conclusions = [
        f"{done} tasks finished, {rate:.1f} per second; {rate * _DAY:,.0f} in a day",
        f"RSS is {flat}: {growth:+.0%} after a day like the second half of this",
        f"sockets of the worker: {sockets}; clients of Redis: {clients}",
        f"Redis bytes per finished task: {size:.0f}, at most {_MOST_BYTES} are allowed",
        f"keys of Redis without an expiry: {dict(lasting)}, of {environment.redis.dbsize()}",
    ]
    report.describe("samples", samples=[asdict(one) for one in samples])


def _trend(samples: Sequence[Sample], figure: str) -> dict[str, float]:
    """How a figure went, and where it would be after a day if it went on like that."""
    values = [float(getattr(one, figure)) for one in samples]
    slope, start = statistics.linear_regression([one.seconds for one in samples], values)
    return {
        "first": values[0],
        "last": values[-1],
        "largest": max(values),
        "per hour": slope * 3600,
        "day": start + slope * _DAY,
    }


def _range(samples: Sequence[Sample], figure: str) -> str:
    values = [getattr(one, figure) for one in samples]
    return f"{min(values)} to {max(values)}"


def _lasting(environment: Environment) -> Counter[str]:
    """The keys that never expire, by what their names have in common."""
    found: Counter[str] = Counter()
    keys = environment.redis.scan_iter(count=_SLICE)
    while some := list(islice(keys, _SLICE)):
        asking = environment.redis.pipeline(transaction=False)
        for key in some:
            asking.ttl(key)
        for key, seconds in zip(some, asking.execute(), strict=True):
            if seconds == -1:
                found[re.sub(r"[0-9a-f-]{8,}|\d+", "*", key.decode())] += 1
    return found

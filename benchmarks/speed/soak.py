"""Measure the growth of memory, connections and Redis while a worker runs."""

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

_INTERVAL = 5.0
_WARM_UP = 0.5
_DAY = 24 * 60 * 60
_MAX_BYTES = 400
_FLAT = 0.20
_TIMEOUT = 300.0
_SLICE = 1000


@dataclass(frozen=True)
class Sample:
    """The figures at one moment."""

    seconds: float
    rss: float
    pss: float
    sockets: int
    redis_clients: int
    redis_bytes: int
    started: int


def run_soak(environment: Environment, options: argparse.Namespace) -> Report:
    """Run a worker under a steady load and extrapolate the figures to a day."""
    size = {"threads": options.threads, "processes": options.processes}
    ours = Measurement(environment, Entry("ours", OURS, **size))
    figures = {"minutes": options.minutes, "rate": options.rate, **size}
    report = Report(machine.describe(environment), figures)
    url = ours.prepare()
    empty = _redis_bytes(environment)
    with ours.entry.run_worker(environment, url) as worker:
        ours.ask(url, "latency", 20)
        seconds = options.minutes * 60
        with ours.entry.run_verb(
            environment, url, "produce", round(seconds), options.rate
        ) as producer:
            began, samples = time.monotonic(), []
            while producer.poll() is None:
                samples.append(_sample(environment, worker.pid, time.monotonic() - began))
                time.sleep(_INTERVAL)
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
    print_progress(f"{seconds:.0f} s: {sample.started} started, RSS {sample.rss:.1f} MB")
    return sample


def _redis_bytes(environment: Environment) -> int:
    return int(environment.redis.info("memory")["used_memory"])


def _conclude(
    report: Report, environment: Environment, samples: Sequence[Sample], done: int, empty: int
) -> None:
    steady = [sample for sample in samples if sample.seconds >= samples[-1].seconds * _WARM_UP]
    rate = (steady[-1].started - steady[0].started) / (steady[-1].seconds - steady[0].seconds)
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
    keys = _keys_without_expiry(environment)
    sockets, clients = _range(steady, "sockets"), _range(steady, "redis_clients")
    report.conclusions = [
        f"{done} tasks finished, {rate:.1f} per second; {rate * _DAY:,.0f} in a day",
        f"RSS is {flat}: {growth:+.0%} after a day, extrapolated from the second half",
        f"sockets of the worker: {sockets}; clients of Redis: {clients}",
        f"Redis bytes per finished task: {size:.0f}, at most {_MAX_BYTES} are allowed",
        f"keys of Redis without an expiry: {dict(keys)}, of {environment.redis.dbsize()}",
    ]
    report.describe("samples", samples=[asdict(sample) for sample in samples])


def _trend(samples: Sequence[Sample], figure: str) -> dict[str, float]:
    """Return the course of a figure, and its linear extrapolation to a day."""
    values = [float(getattr(sample, figure)) for sample in samples]
    slope, start = statistics.linear_regression([sample.seconds for sample in samples], values)
    return {
        "first": values[0],
        "last": values[-1],
        "largest": max(values),
        "per hour": slope * 3600,
        "day": start + slope * _DAY,
    }


def _range(samples: Sequence[Sample], figure: str) -> str:
    values = [getattr(sample, figure) for sample in samples]
    return f"{min(values)} to {max(values)}"


def _keys_without_expiry(environment: Environment) -> Counter[str]:
    """Count the keys without an expiry, by the pattern of their names."""
    found: Counter[str] = Counter()
    keys = environment.redis.scan_iter(count=_SLICE)
    while page := list(islice(keys, _SLICE)):
        pipeline = environment.redis.pipeline(transaction=False)
        for key in page:
            pipeline.ttl(key)
        for key, seconds in zip(page, pipeline.execute(), strict=True):
            if seconds == -1:
                found[re.sub(r"[0-9a-f-]{8,}|\d+", "*", key.decode())] += 1
    return found

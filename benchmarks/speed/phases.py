"""The phases of a measurement; each starts with empty servers and returns figures by name."""

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.speed import processes, trace
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.environment import Environment, difference

Figures = dict[str, float]

#: This share of the task functions is a warm-up; time is measured after it.
WARM_UP = 0.05
#: Seconds until an idle worker polls at its longest interval, and seconds for which it is measured
#: then.
SETTLE, IDLE = 30.0, 60.0
#: How many tasks meet an idle worker, and its idle seconds before the first.
LATENCIES, REST = 200, 3.0
#: How many times ``save()`` is counted; the counts differ when something is collected or cached.
CALLS = 101
_POLL = 0.002
_SOON = 1.0
_TIMEOUT = 900.0


@dataclass(frozen=True)
class Measurement:
    """An entry in an environment."""

    environment: Environment
    entry: Entry

    def figures(self, *, is_first: bool) -> Figures:
        """Run the phases of the entry (some in its first run only); return their figures."""
        figures: Figures = {}
        for phase in (*self.entry.phases, *(self.entry.once if is_first else ())):
            figures |= phase(self)
        return figures

    def prepare(self) -> str:
        """Return the URL of a database with empty tables."""
        url = self.environment.clear()
        self.entry.ask(self.environment, url, "prepare")
        return url

    def ask(self, url: str, verb: str, *arguments: int) -> dict[str, Any]:
        return self.entry.ask(self.environment, url, verb, *arguments)

    def wait_for_starts(self, count: int, worker: subprocess.Popen[bytes]) -> None:
        """Wait until so many task functions have started.

        Raise ContenderFailed if the worker ends before.
        """
        deadline = time.monotonic() + _TIMEOUT
        while trace.count(self.environment.trace) < count:
            if worker.poll() is not None:
                raise ContenderFailed(f"{self.entry.name}: the worker ended: {worker.returncode}")
            if time.monotonic() > deadline:
                done = trace.count(self.environment.trace)
                raise TimeoutError(f"{done} of {count} task functions after {_TIMEOUT:.0f} s")
            time.sleep(_POLL)


def enqueue(measurement: Measurement) -> Figures:
    """Enqueue tasks one by one, while no worker runs."""
    count = max(200, measurement.entry.tasks // 5)
    return measure_enqueue(measurement, measurement.prepare(), "enqueue", count)


def measure_enqueue(measurement: Measurement, url: str, verb: str, count: int) -> Figures:
    """Enqueue ``count`` tasks by ``enqueue`` or ``bulk``; costs are per 1000 tasks."""
    before = measurement.environment.counts()
    answer = measurement.ask(url, verb, count)
    if answer.get("seconds") is None:
        return {}
    spent = difference(measurement.environment.counts(), before)
    enqueued = count + answer.get("warm_up", 20)
    costs = _per_thousand(spent, enqueued)
    return {
        f"{verb} rate": count / answer["seconds"],
        **{f"{verb} {name}": cost for name, cost in costs.items()},
    }


def count_calls(measurement: Measurement) -> Figures:
    """Count the functions of Python that one ``save()`` enters; only this package is counted."""
    answer = measurement.ask(measurement.prepare(), "calls", CALLS)
    return {"save python_calls": answer["calls"]}


@dataclass(frozen=True)
class DrainResult:
    """The result of draining a full queue."""

    count: int
    #: Nanoseconds since 1970: the start of each task function, and the storing of the last outcome.
    marks: Sequence[int]
    end: int
    costs: Figures
    memory: processes.Memory

    def rate(self) -> float:
        """Tasks per second, after the warm-up."""
        first = int(self.count * WARM_UP)
        return (self.count - first) / (self.end - self.marks[first]) * 1e9


def drain(measurement: Measurement) -> Figures:
    """Enqueue in bulk, then start a worker and wait until the last outcome is stored."""
    url, count = measurement.prepare(), measurement.entry.drained or measurement.entry.tasks
    figures = measure_enqueue(measurement, url, "bulk", count)
    if not figures:
        measurement.ask(url, "enqueue", count)
    drained = measure_drain(measurement, url, count)
    return {
        **figures,
        "drain rate": drained.rate(),
        **{f"drain {name}": cost for name, cost in drained.costs.items()},
        "memory after": drained.memory.pss,
        "memory after, rss": drained.memory.rss,
        "redis bytes per task": measurement.environment.redis.info("memory")["used_memory"] / count,
    }


def measure_drain(
    measurement: Measurement, url: str, count: int, stored: str | None = None
) -> DrainResult:
    """Start a worker and wait until it has stored ``count`` outcomes; costs are per 1000 tasks.

    ``stored`` is the SQL that counts them; by default that of the contender.
    """
    stored = stored or measurement.ask(url, "describe").get("finished_sql")
    before = measurement.environment.counts()
    with measurement.entry.run_worker(measurement.environment, url) as worker:
        measurement.wait_for_starts(1, worker)
        began, used = measurement.environment.counts(), processes.seconds(worker.pid)
        measurement.wait_for_starts(count, worker)
        polls = measurement.environment.wait_until(stored, count, _TIMEOUT) if stored else 0
        end = time.time_ns()
        ended, used = measurement.environment.counts(), processes.seconds(worker.pid) - used
        marks = trace.times(measurement.environment.trace)
        time.sleep(_SOON)
        memory = processes.memory(worker.pid)
    if not stored:
        _check_outcomes(measurement, url, count)
        end = marks[count - 1]
    spent = difference(ended, began, polls=polls)
    spent["worker_cpu"] = used
    if "commits" in spent:
        # A session reports its commits with a delay, and all of them when it ends.
        spent["commits"] = measurement.environment.counts()["commits"] - before["commits"]
    return DrainResult(count, marks, end, _per_thousand(spent, count), memory)


def _check_outcomes(measurement: Measurement, url: str, count: int) -> None:
    if (found := measurement.ask(url, "finished")["finished"]) < count:
        raise ContenderFailed(f"{measurement.entry.name}: {found} outcomes of {count} tasks")


def latency(measurement: Measurement) -> Figures:
    """Measure how soon an idle worker starts a task."""
    url = measurement.prepare()
    with measurement.entry.run_worker(measurement.environment, url):
        measurement.ask(url, "latency", 20)  # it is running and connected
        time.sleep(REST)
        return _quantiles(measurement.ask(url, "latency", LATENCIES)["latencies_ms"])


def idle(measurement: Measurement) -> Figures:
    """Measure the costs of an idle worker."""
    url = measurement.prepare()
    with measurement.entry.run_worker(measurement.environment, url) as worker:
        measurement.ask(url, "latency", 20)
        time.sleep(SETTLE)
        before, used = measurement.environment.counts(), processes.seconds(worker.pid)
        time.sleep(IDLE)
        spent = difference(measurement.environment.counts(), before)
        used = processes.seconds(worker.pid) - used
        memory = processes.memory(worker.pid)
    seconds = spent.pop("time")
    figures = {f"idle {name}": spent[name] / seconds for name in spent if "cpu" not in name}
    percent = {name: spent[name] / seconds * 100 for name in spent if "cpu" in name}
    return {
        **figures,
        **{f"idle {name}": share for name, share in percent.items()},
        "idle worker_cpu": used / seconds * 100,
        "memory idle": memory.pss,
        "memory idle, rss": memory.rss,
    }


def _per_thousand(spent: Figures, count: int) -> Figures:
    return {name: spent[name] / count * 1000 for name in spent if name != "time"}


def _quantiles(taken: list[float]) -> Figures:
    hundredths = statistics.quantiles(taken, n=100, method="inclusive")
    return {
        "latency p50": hundredths[49],
        "latency p95": hundredths[94],
        "latency p99": hundredths[98],
        "latency max": max(taken),
    }


ALL_PHASES = (enqueue, drain, latency)
#: Counts hardly differ between runs, and this phase takes a minute and a half.
FIRST_RUN_PHASES = (idle,)

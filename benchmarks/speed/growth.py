"""Measure whether big tables and many waiting tasks slow a worker down."""

import argparse
import statistics
from datetime import UTC, datetime

from benchmarks.speed import machine
from benchmarks.speed.comparison import LIMITS, OURS
from benchmarks.speed.databases import SetupError
from benchmarks.speed.entries import Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import Figures, Measurement, measure_drain, measure_enqueue
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import notes, print_progress

_REPEATS = 10
_MAX_LOSS, _MAX_MILLISECONDS = 0.10, 50.0
_LIMIT = "raw limit, "
_EMPTY, _GROWN = "empty tables", "grown tables"
_RATES = ("enqueue rate", "bulk rate", "drain rate")


def measure_growth(environment: Environment, options: argparse.Namespace) -> Report:
    """Do the same work on empty and on big tables in turn; also for the raw limit.

    The loss of the raw limit is the cost of bigger tables and indexes in the database.
    """
    if options.database != "postgres":
        raise SetupError("Growth is measured on two private servers: --database postgres.")
    sizes = {"waiting": options.tasks, "events": options.events, "drained": options.drained}
    report = Report(
        machine.describe(environment), {**sizes, "runs": options.runs}, notes(environment)
    )
    size = {"threads": options.threads, "processes": options.processes, "tasks": options.drained}
    entries = {"": Entry("ours", OURS, **size), _LIMIT: Entry("raw limit", LIMITS, **size)}
    ours = Measurement(environment, entries[""])
    grown = _prepare_grown(ours, options.tasks, options.events)
    with Environment(options.database) as empty:
        for _ in range(options.runs):
            for name, entry in entries.items():
                measurement = Measurement(empty, entry)
                url = _prepare_waiting(measurement)
                report.add(name + _EMPTY, _measure_rates(measurement, url))
                # A worker that runs all the time would have done these due checks.
                _history(ours, grown, "catch_up")
                report.add(name + _GROWN, _measure_rates(Measurement(environment, entry), grown))
    _measure_queries(ours, grown, report)
    _conclude(report)
    return report


def _prepare_waiting(measurement: Measurement) -> str:
    """Return the URL of a database with more waiting tasks than are run."""
    url = measurement.prepare()
    measurement.ask(url, "bulk", measurement.entry.tasks)
    return url


def _prepare_grown(ours: Measurement, waiting: int, events: int) -> str:
    url = ours.prepare()
    filled = _history(ours, url, "fill", waiting, events)
    print_progress(
        f"{filled['tasks']} tasks, {filled['events']} events in {filled['seconds']:.0f} s"
    )
    return url


def _measure_rates(measurement: Measurement, url: str) -> Figures:
    """Enqueue, then run as many waiting tasks as the entry says."""
    count = measurement.entry.tasks
    figures = measure_enqueue(measurement, url, "enqueue", max(200, count // 5))
    figures |= measure_enqueue(measurement, url, "bulk", count)
    measurement.environment.trace.unlink(missing_ok=True)
    now = datetime.now(UTC).isoformat()
    stored = f"SELECT count(*) FROM bench_noop WHERE done_time > '{now}'"
    drained = measure_drain(measurement, url, count, stored)
    print_progress(f"{measurement.entry.name}: drained {drained.rate():.0f} per second")
    return {**figures, "drain rate": drained.rate()}


def _measure_queries(ours: Measurement, url: str, report: Report) -> None:
    times = _history(ours, url, "periodic_queries", _REPEATS)
    times |= _history(ours, url, "push_all")
    for name, each in times.items():
        report.add(name, {"query p50": statistics.median(each), "query max": max(each)})
    slow = [name for name, each in times.items() if statistics.median(each) > _MAX_MILLISECONDS]
    report.conclusions.append(
        f"queries that take more than {_MAX_MILLISECONDS:.0f} ms: {', '.join(slow) or 'none'}"
    )


def _history(ours: Measurement, url: str, verb: str, *arguments: int) -> dict[str, list[float]]:
    program = Entry("history", "benchmarks.speed.shop.history")
    return program.ask(ours.environment, url, verb, *arguments)


def _conclude(report: Report) -> None:
    for rate in _RATES:
        ours, limit = _change(report, "", rate), _change(report, _LIMIT, rate)
        comparison = "more" if -ours > _MAX_LOSS else "not more"
        report.conclusions.append(
            f"{rate}: {ours:+.1%}, {comparison} than {_MAX_LOSS:.0%} lost; "
            f"the raw limit: {limit:+.1%}"
        )
    report.tables = {
        "Rates": [(rate, f"{rate.removesuffix(' rate')} /s", 0) for rate in _RATES],
        "Periodic queries": [("query p50", "ms, median", 1), ("query max", "ms, max", 1)],
    }


def _change(report: Report, name: str, rate: str) -> float:
    """Return the relative change of the rate from empty to big tables."""
    empty, grown = (report.values(name + tables, rate) for tables in (_EMPTY, _GROWN))
    return statistics.median(grown) / statistics.median(empty) - 1

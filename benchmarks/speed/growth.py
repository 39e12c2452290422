"""Whether it matters how much waits and how much was done before."""

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

_BEATS = 10
_MOST_LOSS, _MOST_MILLISECONDS = 0.10, 50.0
_LIMIT = "raw limit, "
_EMPTY, _GROWN = "empty tables", "grown tables"
_RATES = ("enqueue rate", "bulk rate", "drain rate")


def measure_growth(environment: Environment, asked: argparse.Namespace) -> Report:
    """The same work on empty tables and on grown ones, in turn; the limit's, too.

    What the raw limit loses there is lost to the database: its bigger tables and indexes.
    """
    if asked.database != "postgres":
        raise SetupError("Growth is measured on two servers of our own: --database postgres.")
    options = {"waiting": asked.tasks, "events": asked.events, "drained": asked.drained}
    report = Report(
        machine.describe(environment), {**options, "runs": asked.runs}, notes(environment)
    )
    size = {"threads": asked.threads, "processes": asked.processes, "tasks": asked.drained}
    everybody = {"": Entry("ours", OURS, **size), _LIMIT: Entry("raw limit", LIMITS, **size)}
    ours = Measurement(environment, everybody[""])
    grown = _grown(ours, asked.tasks, asked.events)
    with Environment(asked.database) as empty:
        for _ in range(asked.runs):
            for name, entry in everybody.items():
                one = Measurement(empty, entry)
                report.add(name + _EMPTY, _worked(one, _with_some(one)))
                # As beside a worker that is always there.
                _history(ours, grown, "catch_up")
                report.add(name + _GROWN, _worked(Measurement(environment, entry), grown))
    _look(ours, grown, report)
    _conclude(report)
    return report


def _with_some(one: Measurement) -> str:
    """The URL of a database in which more waits than is run."""
    url = one.prepare()
    one.ask(url, "bulk", one.entry.tasks)
    return url


def _grown(ours: Measurement, waiting: int, events: int) -> str:
    url = ours.prepare()
    made = _history(ours, url, "fill", waiting, events)
    print_progress(
        f"{made['tasks']} tasks, {made['events']} events made in {made['seconds']:.0f} s"
    )
    return url


def _worked(one: Measurement, url: str) -> Figures:
    """Enqueue, and run as many as the entry says of those that wait."""
    count = one.entry.tasks
    figures = measure_enqueue(one, url, "enqueue", max(200, count // 5))
    figures |= measure_enqueue(one, url, "bulk", count)
    one.environment.trace.unlink(missing_ok=True)
    now = datetime.now(UTC).isoformat()
    stored = f"SELECT count(*) FROM bench_noop WHERE done_time > '{now}'"
    drained = measure_drain(one, url, count, stored)
    print_progress(f"{one.entry.name}: drained {drained.rate():.0f} per second")
    return {**figures, "drain rate": drained.rate()}


def _look(ours: Measurement, url: str, report: Report) -> None:
    taken = _history(ours, url, "beats", _BEATS) | _history(ours, url, "doubt")
    for name, each in taken.items():
        report.add(name, {"look p50": statistics.median(each), "look max": max(each)})
    slow = [name for name, each in taken.items() if statistics.median(each) > _MOST_MILLISECONDS]
    report.conclusions.append(
        f"looks that take more than {_MOST_MILLISECONDS:.0f} ms: {', '.join(slow) or 'none'}"
    )


def _history(ours: Measurement, url: str, verb: str, *arguments: int) -> dict[str, list[float]]:
    program = Entry("history", "benchmarks.speed.shop.history")
    return program.ask(ours.environment, url, verb, *arguments)


def _conclude(report: Report) -> None:
    for rate in _RATES:
        ours, limit = _change(report, "", rate), _change(report, _LIMIT, rate)
        word = "more" if -ours > _MOST_LOSS else "not more"
        report.conclusions.append(
            f"{rate}: {ours:+.1%}, {word} than {_MOST_LOSS:.0%} lost; the raw limit: {limit:+.1%}"
        )
    report.tables = {
        "Rates": [(rate, f"{rate.removesuffix(' rate')} /s", 0) for rate in _RATES],
        "A look": [("look p50", "ms, median", 1), ("look max", "ms, max", 1)],
    }


def _change(report: Report, name: str, rate: str) -> float:
    """How much of the rate on empty tables was won, or lost, on grown ones."""
    empty, grown = (report.values(name + tables, rate) for tables in (_EMPTY, _GROWN))
    return statistics.median(grown) / statistics.median(empty) - 1

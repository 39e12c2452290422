"""Measure the cost of each optional feature."""

import argparse
import statistics
from functools import partial

from benchmarks.speed import bars
from benchmarks.speed.comparison import OURS
from benchmarks.speed.entries import Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import drain
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import run_interleaved

#: Names in shop/features.py; the others are compared with the first.
FEATURES = {
    "": "nothing optional",
    "no digest": "without digests (not available to projects)",
    "context": "context: actor, reason and two data",
    "subscription": "a subscription to each success",
    "signal": "a receiver of task_succeeded",
    "event_recorded": "a receiver of event_recorded",
}
_CALLS = {"save()": "save", "bulk_create()": "bulk_create"}


def measure_features(environment: Environment, options: argparse.Namespace) -> Report:
    """Do the same work with each feature; a subscription counts until all is delivered.

    Enqueueing is compared turn by turn.
    """
    entries = [
        Entry(
            title,
            OURS,
            [drain],
            threads=options.threads,
            processes=options.processes,
            tasks=options.tasks,
            extra={"BENCH_FEATURE": name},
        )
        for name, title in FEATURES.items()
    ]
    figures = {"tasks": options.tasks, "runs": options.runs, "threads": options.threads}
    plain = FEATURES[""]
    pairs = [
        bars.Pair(f"{call}, {title}", (title, case), plain, (plain, case))
        for call, case in _CALLS.items()
        for title in FEATURES.values()
        if title != plain
    ]
    named = {entry.name: entry for entry in entries}
    beside = partial(bars.take_turns, environment, options.rounds, named, pairs, workers=())
    report = run_interleaved(environment, entries, options.runs, figures, beside)
    for title in FEATURES.values():
        if title != plain and report.values(title, "drain rate"):
            change = _change(report, title, plain, "drain rate")
            report.conclusions.append(f"{title}: drain rate {change:+.1%}")
    return report


def _change(report: Report, title: str, plain: str, figure: str) -> float:
    """Return the median of the relative change, run by run."""
    pairs = zip(report.values(title, figure), report.values(plain, figure), strict=False)
    return statistics.median(value / reference - 1 for value, reference in pairs)

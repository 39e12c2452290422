"""Measure the cost of each optional feature."""

import argparse
import statistics

from benchmarks.speed.comparison import OURS
from benchmarks.speed.entries import Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import drain, enqueue
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
_COMPARED = ("enqueue rate", "bulk rate", "drain rate")


def measure_features(environment: Environment, options: argparse.Namespace) -> Report:
    """Do the same work with each feature; a subscription counts until all is delivered."""
    entries = [
        Entry(
            title,
            OURS,
            [enqueue, drain],
            threads=options.threads,
            processes=options.processes,
            tasks=options.tasks,
            extra={"BENCH_FEATURE": name},
        )
        for name, title in FEATURES.items()
    ]
    figures = {"tasks": options.tasks, "runs": options.runs, "threads": options.threads}
    report = run_interleaved(environment, entries, options.runs, figures)
    plain = FEATURES[""]
    for title in FEATURES.values():
        if title != plain and report.values(title, "drain rate"):
            changes = (f"{rate} {_change(report, title, plain, rate):+.1%}" for rate in _COMPARED)
            report.conclusions.append(f"{title}: {', '.join(changes)}")
    return report


def _change(report: Report, title: str, plain: str, figure: str) -> float:
    """Return the median of the relative change, run by run."""
    pairs = zip(report.values(title, figure), report.values(plain, figure), strict=False)
    return statistics.median(value / reference - 1 for value, reference in pairs)

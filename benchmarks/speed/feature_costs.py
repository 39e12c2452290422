"""What each feature costs that a project may use or not."""

import argparse
import statistics

from benchmarks.speed.comparison import OURS
from benchmarks.speed.entries import Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import drain, enqueue
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import run_interleaved

#: Names of shop/features.py; the first is what the others are compared with.
FEATURES = {
    "": "nothing optional",
    "no digest": "without digests (it cannot be had)",
    "context": "context: actor, reason and two data",
    "subscription": "a subscription to each success",
    "signal": "a receiver of task_succeeded",
    "event_recorded": "a receiver of event_recorded",
}
_COMPARED = ("enqueue rate", "bulk rate", "drain rate")


def measure_features(environment: Environment, asked: argparse.Namespace) -> Report:
    """The same work with each feature; with a subscription until everything is delivered."""
    entries = [
        Entry(
            title,
            OURS,
            [enqueue, drain],
            threads=asked.threads,
            processes=asked.processes,
            tasks=asked.tasks,
            extra={"BENCH_FEATURE": name},
        )
        for name, title in FEATURES.items()
    ]
    figures = {"tasks": asked.tasks, "runs": asked.runs, "threads": asked.threads}
    report = run_interleaved(environment, entries, asked.runs, figures)
    plain = FEATURES[""]
    for title in FEATURES.values():
        if title != plain and report.values(title, "drain rate"):
            changes = (f"{rate} {_change(report, title, plain, rate):+.1%}" for rate in _COMPARED)
            report.conclusions.append(f"{title}: {', '.join(changes)}")
    return report


def _change(report: Report, title: str, plain: str, figure: str) -> float:
    """The median of what it changes, run by run."""
    pairs = zip(report.values(title, figure), report.values(plain, figure), strict=False)
    return statistics.median(one / other - 1 for one, other in pairs)

"""Run the entries in turn, several times, so that disturbances affect all of them."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.speed import machine
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import WARM_UP, Measurement
from benchmarks.speed.reports import Report


def run_interleaved(
    environment: Environment,
    entries: Sequence[Entry],
    runs: int,
    options: Mapping[str, Any],
    beside: Callable[[], Iterable[dict[str, Any]]] = list,
) -> Report:
    """Return the figures and errors of all ``runs``, or of those before a Ctrl-C.

    ``beside`` is measured first, and returns figures that have bars.
    """
    report = Report(machine.describe(environment), options, notes(environment))
    report.bars += beside()
    for entry in entries:
        _describe(environment, entry, report)
    try:
        for run in range(runs):
            for entry in entries:
                _run(environment, entry, run, report)
    except KeyboardInterrupt:
        print_progress("Interrupted; the figures so far follow.")
    return report


def _run(environment: Environment, entry: Entry, run: int, report: Report) -> None:
    began = time.monotonic()
    try:
        figures = Measurement(environment, entry).figures(is_first=not report.runs(entry.name))
        report.add(entry.name, figures)
    except (ContenderFailed, TimeoutError) as error:
        report.add_error(entry.name, str(error))
        print(error, file=sys.stderr)
    print_progress(f"run {run + 1}: {entry.name}, {time.monotonic() - began:.0f} s")


def _describe(environment: Environment, entry: Entry, report: Report) -> None:
    try:
        answer = entry.ask(environment, environment.clear(), "describe")
        report.describe(entry.name, versions=answer["versions"], stores=answer["stores"])
    except ContenderFailed as error:
        report.add_error(entry.name, str(error))


def notes(environment: Environment) -> list[str]:
    """Return notes that explain the figures."""
    note = (
        f"The first {WARM_UP:.0%} of the task functions are a warm-up; a drain ends when the last "
        "outcome is stored. Redis commands include those of scripts; round trips: socket reads."
    )
    return [note, *filter(None, [environment.database.counting_note])]


def print_progress(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)

"""Several entries in turn, again and again: what the machine does meanwhile hits all of them."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed import machine
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import WARM_UP, Measurement
from benchmarks.speed.reports import Report


def run_interleaved(
    environment: Environment, entries: Sequence[Entry], runs: int, asked: Mapping[str, Any]
) -> Report:
    """The figures of all ``runs``, or of those before a Ctrl-C; what fails has its error there."""
    report = Report(machine.describe(environment), asked, notes(environment))
    for entry in entries:
        _introduce(environment, entry, report)
    try:
        for run in range(runs):
            for entry in entries:
                _run(environment, entry, run, report)
    except KeyboardInterrupt:
        print_progress("Interrupted: what was measured so far follows.")
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


def _introduce(environment: Environment, entry: Entry, report: Report) -> None:
    try:
        options = entry.ask(environment, environment.clear(), "describe")
        report.describe(entry.name, versions=options["versions"], stores=options["stores"])
    except ContenderFailed as error:
        report.add_error(entry.name, str(error))


def notes(environment: Environment) -> list[str]:
    """How the figures are to be read."""
    options = (
        f"The first {WARM_UP:.0%} of the bodies are a warm-up; a drain ends when the last outcome "
        "is stored. Redis commands: those of scripts, too; round trips: reads of its sockets."
    )
    return [options, *filter(None, [environment.database.counting_note])]


def print_progress(text: str) -> None:
    """Print the progress."""
    print(text, file=sys.stderr, flush=True)

"""Measure the efficiency of a worker with task functions of several durations."""

import argparse
import math
from itertools import product

from benchmarks.speed.comparison import OURS
from benchmarks.speed.entries import Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import Figures, Measurement, measure_drain
from benchmarks.speed.reports import Column, Report
from benchmarks.speed.runner import run_interleaved

THREADS = (1, 5, 20)
SECONDS = (0.001, 0.01, 1.0)
#: What the task function does, and in how many processes; sleeping takes no processor time.
KINDS = (("sleep", 1), ("sleep", 2), ("cpu", 1), ("cpu", 2))
NOTE = (
    "From the start of the first task function until the last outcome is stored. Ideal: each "
    "thread sleeps, or each process computes, all the time."
)
_DURATION = 5.0  # seconds
_MAX_ROUNDS, _MIN_ROUNDS = 4000, 4


def measure_efficiency(environment: Environment, options: argparse.Namespace) -> Report:
    """Compare run times with the ideal: every thread (cpu: every process) is always busy."""
    entries = [
        _entry(kind, seconds, processes, threads)
        for (kind, processes), seconds, threads in product(KINDS, SECONDS, THREADS)
        if processes <= threads
    ]
    report = run_interleaved(environment, entries, options.runs, {"runs": options.runs})
    return _arrange(report)


def _entry(kind: str, seconds: float, processes: int, threads: int) -> Entry:
    concurrency = _concurrency(kind, processes, threads)
    rounds = max(_MIN_ROUNDS, math.ceil(min(_DURATION / seconds, _MAX_ROUNDS / concurrency)))
    return Entry(
        f"{_row(kind, seconds, processes)}|{threads}",
        OURS,
        [_efficiency],
        threads=threads,
        processes=processes,
        body=f"{kind}:{seconds}",
        # The same number for each thread, so that none ends earlier.
        tasks=threads * math.ceil(rounds * concurrency / threads),
    )


def _concurrency(kind: str, processes: int, threads: int) -> int:
    """Return how many task functions make progress at the same time (cpu: one per process)."""
    return threads if kind == "sleep" else min(processes, threads)


def _efficiency(measurement: Measurement) -> Figures:
    entry = measurement.entry
    url = measurement.prepare()
    measurement.ask(url, "bulk", entry.tasks)
    drained = measure_drain(measurement, url, entry.tasks)
    kind, _, seconds = entry.body.partition(":")
    ideal = entry.tasks * float(seconds) / _concurrency(kind, entry.processes, entry.threads)
    taken = (drained.end - drained.marks[0]) / 1e9
    return {"efficiency": ideal / taken * 100, "rate": entry.tasks / taken}


def _row(kind: str, seconds: float, processes: int) -> str:
    several = "1 process" if processes == 1 else f"{processes} processes"
    return f"{kind} {seconds * 1000:g} ms, {several}"


def _arrange(report: Report) -> Report:
    """Arrange the figures: a row per task function, a column per number of threads."""
    result = Report(report.machine, report.options)
    for name, entry in report.entries.items():
        row, _, threads = name.partition("|")
        for number, run in enumerate(entry["runs"]):
            runs = result.entries.setdefault(row, {"runs": []})["runs"]
            while len(runs) <= number:
                runs.append({})
            runs[number] |= {f"{figure}, {threads}": run[figure] for figure in run}
        for error in entry.get("errors", ()):
            result.add_error(row, error)
    result.notes = [NOTE]
    result.tables = {
        "Efficiency, %": _columns("efficiency", 0),
        "Tasks per second": _columns("rate", 1),
    }
    return result


def _columns(figure: str, digits: int) -> list[Column]:
    return [(f"{figure}, {n}", f"{n} threads" if n > 1 else "1 thread", digits) for n in THREADS]

"""How much of what its threads could do a worker does, with bodies that take some time."""

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
#: What a body does, in how many processes: sleeping takes no processor.
KINDS = (("sleep", 1), ("sleep", 2), ("cpu", 1), ("cpu", 2))
NOTE = (
    "From the beginning of the first body until the last outcome is stored. The ideal: each thread "
    "sleeps, or each process computes, all the time."
)
_LENGTH = 5.0
_MOST, _ROUNDS = 4000, 4


def measure_efficiency(environment: Environment, asked: argparse.Namespace) -> Report:
    """The ideal is that every thread runs bodies all the time; of CPU, every process."""
    entries = [
        _entry(kind, seconds, processes, threads)
        for (kind, processes), seconds, threads in product(KINDS, SECONDS, THREADS)
        if processes <= threads
    ]
    report = run_interleaved(environment, entries, asked.runs, {"runs": asked.runs})
    return _arranged(report)


def _entry(kind: str, seconds: float, processes: int, threads: int) -> Entry:
    at_once = _at_once(kind, processes, threads)
    rounds = max(_ROUNDS, math.ceil(min(_LENGTH / seconds, _MOST / at_once)))
    return Entry(
        f"{_row(kind, seconds, processes)}|{threads}",
        OURS,
        [_efficiency],
        threads=threads,
        processes=processes,
        body=f"{kind}:{seconds}",
        # Each thread has the same number: else some would end sooner.
        tasks=threads * math.ceil(rounds * at_once / threads),
    )


def _at_once(kind: str, processes: int, threads: int) -> int:
    """How many bodies get on at the same time: of those that compute, one per process."""
    return threads if kind == "sleep" else min(processes, threads)


def _efficiency(measurement: Measurement) -> Figures:
    entry = measurement.entry
    url = measurement.prepare()
    measurement.ask(url, "bulk", entry.tasks)
    drained = measure_drain(measurement, url, entry.tasks)
    kind, _, seconds = entry.body.partition(":")
    ideal = entry.tasks * float(seconds) / _at_once(kind, entry.processes, entry.threads)
    taken = (drained.end - drained.marks[0]) / 1e9
    return {"efficiency": ideal / taken * 100, "rate": entry.tasks / taken}


def _row(kind: str, seconds: float, processes: int) -> str:
    several = "1 process" if processes == 1 else f"{processes} processes"
    return f"{kind} {seconds * 1000:g} ms, {several}"


def _arranged(report: Report) -> Report:
    """One row per body, one column per number of threads."""
    arranged = Report(report.machine, report.options)
    for name, entry in report.entries.items():
        row, _, threads = name.partition("|")
        for number, run in enumerate(entry["runs"]):
            runs = arranged.entries.setdefault(row, {"runs": []})["runs"]
            while len(runs) <= number:
                runs.append({})
            runs[number] |= {f"{figure}, {threads}": run[figure] for figure in run}
        for error in entry.get("errors", ()):
            arranged.add_error(row, error)
    arranged.notes = [NOTE]
    arranged.tables = {
        "Efficiency, %": _columns("efficiency", 0),
        "Tasks per second": _columns("rate", 1),
    }
    return arranged


def _columns(figure: str, digits: int) -> list[Column]:
    return [(f"{figure}, {n}", f"{n} threads" if n > 1 else "1 thread", digits) for n in THREADS]

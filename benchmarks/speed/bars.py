"""What this package reaches beside its peers, and the bars that it has set itself.

Each figure beside a peer is the median of ratios: in every round, each process enqueues some tasks
in its turn, so that a disturbance affects both sides. More than 1: this package is faster.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.speed import virtualenvs
from benchmarks.speed.entries import Entry, Producer
from benchmarks.speed.environment import Environment
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import print_progress

OURS = "benchmarks.speed.contenders.ours"
#: Tasks of one turn, by its case.
_SIZES = {"bulk": 2000, "bulk_create": 2000, "bulk_enqueue": 2000, "outcomes": 10}
_SIZE = 100
#: An entry and what it does in its turn.
Turn = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """A figure of this package beside that of a peer."""

    figure: str
    ours: Turn
    peer: str
    theirs: Turn
    #: At least this ratio; without a bar, the figure is reported only.
    bar: float | None = None


_DEFER, _DEFER_MANY = "Procrastinate, defer()", "Procrastinate, batch_defer()"
PRODUCERS: Sequence[Pair] = (
    Pair("save()", ("ours", "save"), _DEFER, ("Procrastinate", "enqueue"), 0.95),
    Pair(
        "save(), prepared statements",
        ("ours, prepared", "save"),
        _DEFER,
        ("Procrastinate", "enqueue"),
        1.25,
    ),
    Pair(
        "save(), prepared statements",
        ("ours, prepared", "save"),
        f"{_DEFER}, prepared statements",
        ("Procrastinate, prepared", "enqueue"),
    ),
    Pair("objects.enqueue()", ("ours", "enqueue"), _DEFER, ("Procrastinate", "enqueue"), 1.05),
    Pair(
        "bulk_create() of instances",
        ("ours", "bulk_create"),
        _DEFER_MANY,
        ("Procrastinate", "bulk"),
        1.7,
    ),
    Pair(
        "bulk_enqueue() of dicts",
        ("ours", "bulk_enqueue"),
        _DEFER_MANY,
        ("Procrastinate", "bulk"),
        2.5,
    ),
    Pair(
        "save() in a transaction",
        ("ours", "atomic"),
        f"{_DEFER} in a transaction",
        ("Procrastinate", "atomic"),
        0.95,
    ),
    Pair(
        "save() in four threads",
        ("ours", "threads"),
        f"{_DEFER} in four threads",
        ("Procrastinate", "threads"),
        1.15,
    ),
)
_RESULT = "from the call to the committed result"
LATENCIES: Sequence[Pair] = (
    Pair(_RESULT, ("ours", "outcomes"), "Huey, own row", ("Huey, own row", "outcomes"), 0.9),
    Pair(_RESULT, ("ours", "outcomes"), "Procrastinate", ("Procrastinate", "outcomes"), 1.25),
)
DRAIN = ("drain, one process", "raw limit", 0.55)
#: Figures of "ours" alone: the figure, its name, its unit, and the bar: at most.
ALONE: Sequence[tuple[str, str, str, float]] = (
    ("idle worker_cpu", "idle worker, CPU", "%", 0.35),
    ("memory idle", "idle worker, memory (PSS)", "MB", 60),
    ("save python_calls", "functions of Python that save() enters", "calls", 130),
)
_DIGITS = 4


def compare(environment: Environment, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compare with peers, turn by turn. Raise SetupError if one cannot be installed."""
    entries = _entries(options)
    yield from take_turns(environment, options.rounds, entries, PRODUCERS, workers=())
    nodes = [entries[name] for name in ("ours", "Procrastinate", "Huey, own row")]
    yield from take_turns(environment, options.rounds, entries, LATENCIES, nodes)


def judge(report: Report) -> Iterator[dict[str, Any]]:
    """Return the figures of the entry "ours" in the report that have bars."""
    rates = [report.values(name, "drain rate") for name in ("ours", "raw limit")]
    if ratios := [ours / limit for ours, limit in zip(*rates, strict=False)]:
        sides = dict(zip(("ours", "theirs"), map(statistics.median, rates), strict=True))
        yield _bar(*DRAIN, ratios) | sides | {"unit": "tasks/s"}
    for figure, name, unit, bar in ALONE:
        if values := report.values("ours", figure):
            yield _bar(name, "", bar, values, is_less_better=True) | {"unit": unit}


def _entries(options: argparse.Namespace) -> dict[str, Entry]:
    """Return the entries that take turns. Raise SetupError if a peer cannot be installed."""
    size = {"threads": options.threads, "processes": 1, "tasks": options.tasks}
    procrastinate, huey = (
        Entry(
            name, f"benchmarks.speed.contenders.{module}", python=virtualenvs.ensure(module), **size
        )
        for name, module in (("Procrastinate", "procrastinate3"), ("Huey, own row", "huey3"))
    )
    prepared = {"BENCH_PREPARED": "1"}
    ours = Entry("ours", OURS, **size)
    entries = (
        ours,
        replace(ours, name="ours, prepared", extra=prepared),
        procrastinate,
        replace(procrastinate, name="Procrastinate, prepared", extra=prepared),
        replace(huey, variant="row"),
    )
    return {entry.name: entry for entry in entries}


def take_turns(
    environment: Environment,
    rounds: int,
    entries: Mapping[str, Entry],
    pairs: Sequence[Pair],
    workers: Sequence[Entry],
) -> Iterator[dict[str, Any]]:
    """Let the processes take turns, every other round in reverse, and compare them."""
    turns = list(dict.fromkeys(turn for pair in pairs for turn in (pair.ours, pair.theirs)))
    names = list(dict.fromkeys(name for name, _ in turns))
    url = environment.clear()
    for name in names:
        entries[name].ask(environment, url, "prepare")
    with ExitStack() as running:
        for entry in workers:
            running.enter_context(entry.run_worker(environment, url))
        producers = {
            name: running.enter_context(entries[name].run_producer(environment, url))
            for name in names
        }
        taken = [
            {turn: _take(producers[turn[0]], turn[1]) for turn in turns[:: -1 if number % 2 else 1]}
            for number in range(rounds + 1)
        ]
        print_progress(f"{len(turns)} turns of {rounds} rounds")
    for pair in pairs:
        yield _compare(pair, taken[1:])  # the first round is a warm-up


def _take(producer: Producer, case: str) -> dict[str, float]:
    """Return the rate and the processor time in microseconds of a turn, or its latencies."""
    count = _SIZES.get(case, _SIZE)
    answer = producer.take_turn(case, count)
    if case == "outcomes":
        return {
            "speed": 1 / statistics.median(answer["outcomes_ms"]),
            "milliseconds": statistics.median(answer["outcomes_ms"]),
            "until it starts": statistics.median(answer["latencies_ms"]),
        }
    return {
        "speed": count / answer["seconds"],
        "tasks/s": count / answer["seconds"],
        "cpu": answer["cpu"] / count * 1e6,
    }


def _compare(pair: Pair, rounds: Sequence[Mapping[Turn, Mapping[str, float]]]) -> dict[str, Any]:
    ratios = [taken[pair.ours]["speed"] / taken[pair.theirs]["speed"] for taken in rounds]
    compared = _bar(pair.figure, pair.peer, pair.bar, ratios)
    for side, turn in (("ours", pair.ours), ("theirs", pair.theirs)):
        for unit in rounds[0][turn]:
            if unit != "speed":
                middle = statistics.median(taken[turn][unit] for taken in rounds)
                suffix = "" if unit in ("tasks/s", "milliseconds") else f", {unit}"
                compared[f"{side}{suffix}"] = middle
                compared.setdefault("unit", unit)
    return compared


def _bar(
    figure: str,
    peer: str,
    bar: float | None,
    values: Sequence[float],
    *,
    is_less_better: bool = False,
) -> dict[str, Any]:
    measured = statistics.median(values)
    result = {"figure": figure, "beside": peer, "measured": round(measured, _DIGITS)}
    result |= {"min": round(min(values), _DIGITS), "max": round(max(values), _DIGITS)}
    if bar is None:
        return result
    is_reached = measured <= bar if is_less_better else measured >= bar
    return result | {"bar": f"{'<=' if is_less_better else '>='} {bar:g}", "reached": is_reached}

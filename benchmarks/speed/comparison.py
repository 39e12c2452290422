"""This package, the raw limit and the peers, each given the same work."""

import argparse
from collections.abc import Iterator

from benchmarks.speed import environments
from benchmarks.speed.databases import CannotBegin
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.phases import COUNTED, EVERYTHING, drain, enqueue
from benchmarks.speed.reports import Report
from benchmarks.speed.stage import Stage
from benchmarks.speed.tournament import played

OURS, LIMITS = "benchmarks.speed.contenders.ours", "benchmarks.speed.limits"
_RATES = ("enqueue rate", "bulk rate", "drain rate")


def limits(stage: Stage, asked: argparse.Namespace) -> Report:
    """The raw limit alone. Raises CannotBegin if there is none for the database."""
    if not (entries := list(_limits(stage, asked))):
        raise CannotBegin("The raw limit is known of PostgreSQL only.")
    return played(stage, entries, asked.runs, _told(asked))


def ours(stage: Stage, asked: argparse.Namespace) -> Report:
    """This package beside the raw limit; also with its default of threads, and two processes.

    And in prepared statements, as docs/how-to/deploy.md recommends it of PostgreSQL.
    """
    entries = [
        *_limits(stage, asked),
        _ours(asked),
        Entry("ours, 5 threads", OURS, [drain], threads=5, tasks=asked.tasks),
        Entry(
            "ours, 2 processes",
            OURS,
            [drain],
            threads=asked.threads,
            processes=2,
            tasks=asked.tasks,
        ),
        *_prepared(stage, asked),
    ]
    return _compared(played(stage, entries, asked.runs, _told(asked)))


def peers(stage: Stage, asked: argparse.Namespace) -> Report:
    """Everybody, but for peers whose environment cannot be made here."""
    chosen = [name for name in asked.only.split(",") if name] or environments.names()
    entries = [*_limits(stage, asked), _ours(asked)]
    left_out = []
    for name in chosen:
        try:
            entries += _peer(name, environments.made(name), stage, asked)
        except CannotBegin as reason:
            if asked.only:
                raise
            left_out.append(f"{name} is left out: {reason}")
    report = _compared(played(stage, entries, asked.runs, _told(asked)))
    report.conclusions += left_out
    return report


def _limits(stage: Stage, asked: argparse.Namespace) -> Iterator[Entry]:
    if stage.database.kind == "postgres":
        yield Entry("raw limit", LIMITS, EVERYTHING, COUNTED, **_size(asked))
        yield Entry("raw limit, Redis told", LIMITS, [enqueue], variant="push", **_size(asked))


def _ours(asked: argparse.Namespace) -> Entry:
    return Entry("ours", OURS, EVERYTHING, COUNTED, **_size(asked))


def _prepared(stage: Stage, asked: argparse.Namespace) -> Iterator[Entry]:
    if stage.database.kind == "postgres":
        extra = {"BENCH_PREPARED": "1"}
        yield Entry("ours, prepared statements", OURS, EVERYTHING, extra=extra, **_size(asked))


def _peer(name: str, python: str, stage: Stage, asked: argparse.Namespace) -> Iterator[Entry]:
    module = f"benchmarks.speed.contenders.{environments.module_of(name)}"
    plain = Entry(name, module, EVERYTHING, COUNTED, python=python, **_size(asked))
    try:
        told = plain.ask(stage, stage.clear(), "describe")
    except ContenderFailed:
        told = {"name": name, "variants": ["plain"]}  # it fails again, and the report tells of it
    for variant in told["variants"]:
        is_plain = variant == "plain"
        title = told["name"] if is_plain else f"{told['name']}, own {variant}"
        # With its own row it rests as without.
        once = COUNTED if is_plain else ()
        yield Entry(title, module, EVERYTHING, once, python=python, variant=variant, **_size(asked))


def _compared(report: Report) -> Report:
    """How near this package comes to the limit, run by run."""
    for figure in _RATES:
        pairs = zip(report.values("ours", figure), report.values("raw limit", figure), strict=False)
        if ratios := sorted(one / limit for one, limit in pairs):
            each = ", ".join(f"{ratio:.0%}" for ratio in ratios)
            report.conclusions.append(f"{figure}: ours is at {each} of the raw limit")
    return report


def _size(asked: argparse.Namespace) -> dict[str, int]:
    return {name: vars(asked)[name] for name in ("threads", "processes", "tasks")}


def _told(asked: argparse.Namespace) -> dict[str, int]:
    return {name: vars(asked)[name] for name in ("tasks", "runs", "threads", "processes")}

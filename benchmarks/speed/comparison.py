"""This package, the raw limit and the peers, each given the same work."""

import argparse
from collections.abc import Iterator

from benchmarks.speed import virtualenvs
from benchmarks.speed.databases import SetupError
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import ALL_PHASES, FIRST_RUN_PHASES, drain, enqueue
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import run_interleaved

OURS, LIMITS = "benchmarks.speed.contenders.ours", "benchmarks.speed.limits"
_RATES = ("enqueue rate", "bulk rate", "drain rate")


def measure_limits(environment: Environment, asked: argparse.Namespace) -> Report:
    """The raw limit alone. Raises CannotBegin if there is none for the database."""
    if not (entries := list(_limits(environment, asked))):
        raise SetupError("The raw limit is known of PostgreSQL only.")
    return run_interleaved(environment, entries, asked.runs, _sizes(asked))


def compare_with_limits(environment: Environment, asked: argparse.Namespace) -> Report:
    """This package beside the raw limit; also with its default of threads, and two processes.

    And in prepared statements, as docs/how-to/deploy.md recommends it of PostgreSQL.
    """
    entries = [
        *_limits(environment, asked),
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
        *_prepared(environment, asked),
    ]
    return _compared(run_interleaved(environment, entries, asked.runs, _sizes(asked)))


def compare_with_peers(environment: Environment, asked: argparse.Namespace) -> Report:
    """Everybody, but for peers whose environment cannot be made here."""
    chosen = [name for name in asked.only.split(",") if name] or virtualenvs.names()
    entries = [*_limits(environment, asked), _ours(asked)]
    left_out = []
    for name in chosen:
        try:
            entries += _peer(name, virtualenvs.ensure(name), environment, asked)
        except SetupError as reason:
            if asked.only:
                raise
            left_out.append(f"{name} is left out: {reason}")
    report = _compared(run_interleaved(environment, entries, asked.runs, _sizes(asked)))
    report.conclusions += left_out
    return report


def _limits(environment: Environment, asked: argparse.Namespace) -> Iterator[Entry]:
    if environment.database.kind == "postgres":
        yield Entry("raw limit", LIMITS, ALL_PHASES, FIRST_RUN_PHASES, **_size(asked))
        yield Entry("raw limit, pushed", LIMITS, [enqueue], variant="push", **_size(asked))


def _ours(asked: argparse.Namespace) -> Entry:
    return Entry("ours", OURS, ALL_PHASES, FIRST_RUN_PHASES, **_size(asked))


def _prepared(environment: Environment, asked: argparse.Namespace) -> Iterator[Entry]:
    if environment.database.kind == "postgres":
        extra = {"BENCH_PREPARED": "1"}
        yield Entry("ours, prepared statements", OURS, ALL_PHASES, extra=extra, **_size(asked))


def _peer(
    name: str, python: str, environment: Environment, asked: argparse.Namespace
) -> Iterator[Entry]:
    module = f"benchmarks.speed.contenders.{virtualenvs.module_of(name)}"
    plain = Entry(name, module, ALL_PHASES, FIRST_RUN_PHASES, python=python, **_size(asked))
    try:
        figures = plain.ask(environment, environment.clear(), "describe")
    except ContenderFailed:
        figures = {
            "name": name,
            "variants": ["plain"],
        }  # it fails again, and the report tells of it
    for variant in figures["variants"]:
        is_plain = variant == "plain"
        title = figures["name"] if is_plain else f"{figures['name']}, own {variant}"
        # With its own row it rests as without.
        once = FIRST_RUN_PHASES if is_plain else ()
        yield Entry(title, module, ALL_PHASES, once, python=python, variant=variant, **_size(asked))


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


def _sizes(asked: argparse.Namespace) -> dict[str, int]:
    return {name: vars(asked)[name] for name in ("tasks", "runs", "threads", "processes")}

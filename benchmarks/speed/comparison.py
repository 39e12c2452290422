"""Compare this package, the raw limit and the peers on the same work."""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.speed import bars, virtualenvs
from benchmarks.speed.databases import SetupError
from benchmarks.speed.entries import ContenderFailed, Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import ALL_PHASES, FIRST_RUN_PHASES, count_calls, drain, enqueue
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import run_interleaved

OURS, LIMITS = bars.OURS, "benchmarks.speed.limits"
_RATES = ("enqueue rate", "bulk rate", "drain rate")


def measure_limits(environment: Environment, options: argparse.Namespace) -> Report:
    """Measure the raw limit alone. Raise SetupError if the database has none."""
    if not (entries := list(_limits(environment, options))):
        raise SetupError("The raw limit exists for PostgreSQL only.")
    return run_interleaved(environment, entries, options.runs, _sizes(options))


def compare_with_limits(environment: Environment, options: argparse.Namespace) -> Report:
    """Compare this package with the raw limit.

    Also with the default number of threads, with two processes, and with prepared statements, which
    docs/how-to/deploy.md recommends for PostgreSQL.
    """
    entries = [*_limits(environment, options), *_ours(environment, options)]
    return _compare(run_interleaved(environment, entries, options.runs, _sizes(options)))


def compare_with_bars(environment: Environment, options: argparse.Namespace) -> Report:
    """Measure the figures that have bars, beside the peers that these name."""
    size = _size(options)
    entries = [
        Entry("raw limit", LIMITS, [drain], **size),
        Entry("ours", OURS, [drain], [count_calls, *FIRST_RUN_PHASES], **size),
    ]
    beside = partial(bars.compare, environment, options)
    report = run_interleaved(environment, entries, options.runs, _sizes(options), beside)
    report.bars += bars.judge(report)
    return report


def compare_with_peers(environment: Environment, options: argparse.Namespace) -> Report:
    """Compare all peers, and first the figures that have bars.

    Peers whose environment cannot be created are left out.
    """
    chosen = [name for name in options.only.split(",") if name] or virtualenvs.names()
    entries = [*_limits(environment, options), *_ours(environment, options)]
    left_out = []
    for name in chosen:
        try:
            entries += _peer(name, virtualenvs.ensure(name), environment, options)
        except SetupError as reason:
            if options.only:
                raise
            left_out.append(f"{name} is left out: {reason}")
    has_bars = not options.only and environment.database.kind == "postgres"
    beside = partial(bars.compare, environment, options) if has_bars else list
    report = run_interleaved(environment, entries, options.runs, _sizes(options), beside)
    report.bars += bars.judge(report) if has_bars else []
    report.conclusions += left_out
    return _compare(report)


def _limits(environment: Environment, options: argparse.Namespace) -> Iterator[Entry]:
    if environment.database.kind == "postgres":
        yield Entry("raw limit", LIMITS, ALL_PHASES, _once(options), **_size(options))
        yield Entry("raw limit, pushed", LIMITS, [enqueue], variant="push", **_size(options))


def _ours(environment: Environment, options: argparse.Namespace) -> Iterator[Entry]:
    size = _size(options)
    yield Entry("ours", OURS, ALL_PHASES, [count_calls, *FIRST_RUN_PHASES], **size)
    yield Entry("ours, 5 threads", OURS, [drain], **size | {"threads": 5})
    yield Entry("ours, 2 processes", OURS, [drain], **size | {"processes": 2})
    if environment.database.kind == "postgres":
        extra = {"BENCH_PREPARED": "1"}
        yield Entry("ours, prepared statements", OURS, ALL_PHASES, extra=extra, **size)


def _peer(
    name: str, python: str, environment: Environment, options: argparse.Namespace
) -> Iterator[Entry]:
    module = f"benchmarks.speed.contenders.{virtualenvs.module_of(name)}"
    size = _size(options) | {"drained": virtualenvs.drained(name)}
    plain = Entry(name, module, ALL_PHASES, python=python, **size)
    try:
        figures = plain.ask(environment, environment.clear(), "describe")
    except ContenderFailed:
        figures = {
            "name": name,
            "variants": ["plain"],
        }  # it fails again, and the report contains the error
    for variant in figures["variants"]:
        is_plain = variant == "plain"
        title = figures["name"] if is_plain else f"{figures['name']}, own {variant}"
        # Its own row makes no difference to an idle worker.
        once = _once(options) if is_plain else ()
        yield Entry(title, module, ALL_PHASES, once, python=python, variant=variant, **size)


def _compare(report: Report) -> Report:
    """Add the rates of this package as shares of the raw limit, run by run."""
    for figure in _RATES:
        pairs = zip(report.values("ours", figure), report.values("raw limit", figure), strict=False)
        if ratios := sorted(ours / limit for ours, limit in pairs):
            each = ", ".join(f"{ratio:.0%}" for ratio in ratios)
            report.conclusions.append(f"{figure}: ours is at {each} of the raw limit")
    return report


def _once(options: argparse.Namespace) -> Sequence[Any]:
    return FIRST_RUN_PHASES if getattr(options, "idle", True) else ()


def _size(options: argparse.Namespace) -> dict[str, Any]:
    return {name: vars(options)[name] for name in ("threads", "processes", "tasks")}


def _sizes(options: argparse.Namespace) -> dict[str, int]:
    return {name: vars(options)[name] for name in ("tasks", "runs", "threads", "processes")}

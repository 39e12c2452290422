"""``manage.py django-simpletask3-status``: how everything is doing, for people and probes."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from ...monitoring.health import MAX_ROWS, snapshot
from ...worker.node.heartbeat_file import judge


class Command(BaseCommand):
    """Say how databases, Redis, tasks and workers are doing."""

    help = "Says how databases, Redis, tasks and workers are doing; the exit code is 1 if not well."
    # A probe must answer while a setting is wrong, too: it says so.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON document")
        parser.add_argument(
            "--heartbeat-file",
            type=Path,
            metavar="PATH",
            help="judge the node of this machine by the file it writes; ask nobody else",
        )
        parser.add_argument(
            "--max-age",
            type=float,
            default=30.0,
            metavar="SECONDS",
            help="how old the heartbeat may be (30)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["heartbeat_file"]:
            report, problems = judge(options["heartbeat_file"], options["max_age"])
            health = {**report, "problems": problems, "healthy": not problems}
            lines = _node_lines(health)
        else:
            health = snapshot()
            lines = _health_lines(health)
        self.stdout.write(json.dumps(health, indent=2) if options["json"] else "\n".join(lines))
        if health["problems"]:
            sys.exit(1)


def _health_lines(health: Mapping[str, Any]) -> Iterator[str]:
    for alias, database in health["databases"].items():
        yield f"Database  {alias} ({database['vendor']}): {database['error'] or 'answers'}"
    redis = health["redis"]
    yield f"Redis     {redis['url']}: {redis['error'] or 'answers, version ' + redis['version']}"
    yield from (f"          Warning: {warning}" for warning in redis["warnings"])
    yield ""
    yield from _align(
        ["Table", "database", "pending", "due", "running", "lease ended", "longest wait"],
        ([*_table_cells(table), _seconds(table["longest_wait"])] for table in health["tables"]),
    )
    yield ""
    yield from _align(
        ["Model", "messages", "held", "dead letters", "paused by"],
        (
            [
                model["model"],
                *(model[name] for name in ("messages", "held", "dead_letters")),
                model["paused"] and (model["paused"]["actor"] or "somebody"),
            ]
            for model in health["models"]
        ),
    )
    yield ""
    if health["subscriptions"]:
        yield from _align(
            ["Subscription", "database", "waiting", "dead", "behind"],
            (_subscription_cells(subscription) for subscription in health["subscriptions"]),
        )
        yield ""
    yield from _align(
        ["Worker", "last report", "threads", "held", "last recovery pass"],
        (_worker_cells(worker) for worker in health["workers"]),
    )
    yield ""
    yield from _verdict(health)


def _node_lines(health: Mapping[str, Any]) -> Iterator[str]:
    yield from (
        f"{name}: {health[name]}" for name in ("pid", "processes", "counts") if name in health
    )
    yield from _verdict(health)


def _verdict(health: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"Problem: {problem}" for problem in health["problems"])
    if health["healthy"]:
        yield "All is well."


def _table_cells(table: Mapping[str, Any]) -> list[Any]:
    more = "" if table["is_all"] else f" of the first {MAX_ROWS}"
    counts = [table[name] for name in ("pending", "due", "running", "lease_ended")]
    return [table["model"], table["database"], f"{counts[0]}{more}", *counts[1:]]


def _worker_cells(worker: Mapping[str, Any]) -> list[Any]:
    models = worker.get("models", {}).values()
    threads, held = (sum(model[name] for model in models) for name in ("threads", "held"))
    ages = (worker["seconds_since_report"], worker["seconds_since_recovery"])
    return [worker["worker"], _seconds(ages[0]), threads, held, _seconds(ages[1])]


def _subscription_cells(subscription: Mapping[str, Any]) -> list[Any]:
    names = ("subscription", "database", "waiting", "dead")
    return [*(subscription[name] for name in names), _seconds(subscription["lag"])]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _align(header: list[str], rows: Iterable[list[Any]]) -> Iterator[str]:
    """A table: the first column to the left, the others to the right."""
    table = [header, *([("-" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        yield "  ".join(cells).rstrip()

"""``manage.py django-simpletask3-status``: report on databases, Redis, tasks and workers."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from ...logs import printable
from ...monitoring.health import MAX_ROWS, snapshot
from ...monitoring.health_types import (
    DependencyHealth,
    Health,
    LimitHealth,
    ModelHealth,
    OverdueSchedule,
    SubscriptionHealth,
    TableHealth,
    WorkerHealth,
)
from ...monitoring.oldest_tasks import explain_oldest
from ...worker.node.heartbeat_file import check_file
from ..columns import align


class Command(BaseCommand):
    """Print the health of databases, Redis, tasks and workers, for people and for probes."""

    help = (
        "Displays the health of databases, Redis, tasks and workers. Exits with status 1 if there "
        "are problems."
    )
    # A probe must answer even if a setting is wrong: that is one of the problems.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Writes one JSON document.")
        parser.add_argument(
            "--heartbeat-file",
            type=Path,
            metavar="PATH",
            help="Checks only the node of this machine, by its heartbeat file.",
        )
        parser.add_argument(
            "--max-age",
            type=float,
            default=30.0,
            metavar="SECONDS",
            help="The age at which the heartbeat file is a problem; defaults to 30.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["heartbeat_file"]:
            report, problems = check_file(options["heartbeat_file"], options["max_age"])
            lines = _node_lines(report)
        else:
            health = explain_oldest(snapshot())
            report, problems = asdict(health), health.problems
            lines = _health_lines(health)
        report |= {"problems": problems, "healthy": not problems}
        lines = chain(lines, _problem_lines(problems))
        self.stdout.write(json.dumps(report, indent=2) if options["json"] else _text(lines))
        if problems:
            sys.exit(1)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(printable, lines))


def _health_lines(health: Health) -> Iterator[str]:
    yield from _server_lines(health)
    yield ""
    for header, rows in _tables(health):
        yield from align(header, rows)
        yield ""
    if lines := [*_oldest_lines(health.tables), *_notices(health.models)]:
        yield from (*lines, "")


def _server_lines(health: Health) -> Iterator[str]:
    for alias, database in health.databases.items():
        yield f"Database  {alias} ({database.vendor}): {database.error or 'answers'}"
    redis = health.redis
    answer = f"answers, version {redis.version}" if redis.is_used else "workers poll the tables"
    yield f"Redis     {redis.url}: {redis.error or answer}"
    yield from (f"          Warning: {warning}" for warning in redis.warnings)


def _tables(health: Health) -> Iterator[tuple[list[str], Iterable[list[object]]]]:
    header = ["Table", "database", "pending", "due", "running", "blocked", "lease expired"]
    yield [*header, "longest wait"], map(_table_cells, health.tables)
    header = ["Model", "messages", "in flight", "dead letters", "paused by"]
    yield header, map(_model_cells, health.models)
    if health.subscriptions:
        header = ["Subscription", "database", "waiting", "dead", "behind"]
        yield header, map(_subscription_cells, health.subscriptions)
    if health.limits:
        header = ["Limit", "database", "places", "taken", "waiting", "longest wait"]
        yield header, map(_limit_cells, health.limits)
    if health.dependencies:
        header = ["Waiting for others", "tasks", "open groups", "longest wait"]
        yield header, map(_dependency_cells, health.dependencies)
    if health.overdue_schedules:
        yield (
            ["Schedule", "database", "overdue for"],
            map(_schedule_cells, health.overdue_schedules),
        )
    header = ["Worker", "last report", "threads", "in flight", "last recovery"]
    yield header, map(_worker_cells, health.workers)


def _oldest_lines(tables: Iterable[TableHealth]) -> Iterator[str]:
    """Of each table with waiting tasks, why the oldest one does not run."""
    for table in tables:
        if table.explanation is not None:
            yield f"Oldest    {table.model} {table.oldest} ({table.database}): {table.explanation}"


def _notices(models: Iterable[ModelHealth]) -> Iterator[str]:
    """What is no problem, because an operator wants it, and yet keeps tasks from running."""
    for model in models:
        if model.paused and model.messages:
            actor = model.paused.actor or "an operator"
            waits = "1 task waits" if model.messages == 1 else f"{model.messages} tasks wait"
            yield f"Notice    The queue of {model.model} is paused by {actor}: {waits} in it."


def _node_lines(report: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{n}: {report[n]}" for n in ("pid", "processes", "counts") if n in report)


def _problem_lines(problems: list[str]) -> Iterator[str]:
    yield from (f"Problem: {problem}" for problem in problems)
    if not problems:
        yield "No problems."


def _table_cells(table: TableHealth) -> list[object]:
    suffix = "" if table.is_complete else f" of the first {MAX_ROWS}"
    pending, wait = f"{table.pending}{suffix}", _seconds(table.longest_wait)
    blocked = f"{table.blocked}{'' if table.blocked < MAX_ROWS else '+'}"
    counts = (table.due, table.running, blocked, table.expired_leases)
    return [table.model, table.database, pending, *counts, wait]


def _model_cells(model: ModelHealth) -> list[object]:
    paused_by = model.paused and (model.paused.actor or "an operator")
    return [model.model, model.messages, model.in_flight, model.dead_letters, paused_by]


def _worker_cells(worker: WorkerHealth) -> list[object]:
    threads = sum(load.threads for load in worker.models.values())
    in_flight = sum(load.in_flight for load in worker.models.values())
    ages = (_seconds(worker.seconds_since_report), _seconds(worker.seconds_since_recovery))
    return [worker.worker, ages[0], threads, in_flight, ages[1]]


def _subscription_cells(subscription: SubscriptionHealth) -> list[object]:
    counts = (subscription.waiting, subscription.dead)
    name, database = subscription.subscription, subscription.database
    return [name, database, *counts, _seconds(subscription.lag)]


def _limit_cells(limit: LimitHealth) -> list[object]:
    counts = (limit.running, limit.taken, limit.waiting)
    return [limit.limit, limit.database, *counts, _seconds(limit.longest_wait)]


def _dependency_cells(health: DependencyHealth) -> list[object]:
    counts = (health.waiting, health.open_groups)
    return [health.database, *counts, _seconds(health.longest_wait)]


def _schedule_cells(schedule: OverdueSchedule) -> list[object]:
    return [schedule.schedule, schedule.database, _seconds(schedule.overdue)]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"

"""How everything is doing: databases, Redis, tables, workers, and what somebody should look at."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from django.db import Error, connections

from .. import __version__, control
from ..conf.options import options
from ..db import clock
from ..db.limited_queries import first_rows
from ..exceptions import InvalidSetting, QueueUnavailable
from ..ledger.outbox import all_deliveries
from ..ledger.subscribers import registered_subscribers
from ..models.queryset import rows_of
from ..models.registry import models_by_database, task_models
from ..models.task import SimpleTask
from ..queue import Report, get_queue, redact
from ..states import Status
from . import problems
from .scope import QueryScope

_logger = logging.getLogger(__name__)

#: Rows that are looked at per table: those for which somebody has to act first.
MAX_ROWS = 1000

Health = dict[str, Any]


def snapshot() -> Health:
    """The state of this project's tasks, in plain values; ``problems`` has English sentences.

    Nothing raises and nothing is counted in full: of each table at most MOST_ROWS rows are read;
    per model a few commands to Redis. ``healthy`` means that there are no problems.
    """
    health: Health = {"time": datetime.now(UTC).isoformat(), "version": __version__}
    roots_by_database = models_by_database()
    health["databases"] = {alias: _database(alias) for alias in sorted(roots_by_database)}
    health["redis"] = _redis()
    is_redis_up = health["redis"]["error"] is None
    unreachable = {
        alias: command["error"]
        for alias, command in health["databases"].items()
        if command["error"]
    }
    scope = QueryScope(unreachable=unreachable)
    health["tables"] = [row for rows in scope.query_databases(_tables) for row in rows]
    for alias, error in unreachable.items():
        # One that went away between the questions.
        health["databases"].get(alias, {})["error"] = error
    commands = _operator_commands()
    paused = {one.target: _command_details(one) for one in commands if one.action == control.PAUSE}
    health["models"] = [
        {**_model(model, is_redis_up), "paused": paused.get(model._meta.label)}
        for model in task_models()
    ]
    health["subscriptions"] = [
        told
        for using, database in health["databases"].items()
        if database["error"] is None
        for told in _subscriptions(using)
    ]
    stopping = {one.target for one in commands if one.action == control.STOP}
    workers = _workers() if is_redis_up else []
    health["workers"] = [{**one, "is_to_stop": one["worker"] in stopping} for one in workers]
    health["problems"] = [str(problem) for problem in problems.find_problems(health)]
    health["healthy"] = not health["problems"]
    return health


def _database(alias: str) -> dict[str, Any]:
    state = {"vendor": connections[alias].vendor, "error": None}
    try:
        if not clock.calibrate(alias):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
    except Error as error:
        state["error"] = str(error) or type(error).__name__
        connections[alias].close()
    return state


def _operator_commands() -> list[control.OperatorCommand]:
    try:
        return control.current_commands()
    except Error as error:
        _logger.warning("instructions_unreadable error=%s", error)
        return []


def _command_details(command: control.OperatorCommand) -> dict[str, Any]:
    return {"time": command.time.isoformat(), "actor": command.actor, "reason": command.reason}


def _redis() -> dict[str, Any]:
    state: dict[str, Any] = {"url": None, "version": None, "warnings": [], "error": None}
    try:
        state["url"] = redact(options.simq_redis_url)
        state["version"] = get_queue().version()
        state["warnings"] = get_queue().check_server()
    except (QueueUnavailable, InvalidSetting) as error:
        state["error"] = str(error)
    return state


def _tables(using: str, roots: list[type[SimpleTask]]) -> list[dict[str, Any]]:
    """What waits or runs in each table of a database; in one statement."""
    names = ("status", "check_at", "run_after", "mod_time")
    queries = {
        root: rows_of(root, using)
        .filter(check_at__isnull=False)
        .order_by("check_at")
        .values_list(*names)
        for root in roots
    }
    rows_by_root = first_rows(using, queries, MAX_ROWS)
    return [_table(root, using, rows) for root, rows in rows_by_root.items()]


def _table(root: type[SimpleTask], using: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The rows that wait or run; of more than MOST_ROWS those for which somebody must act first."""
    now = clock.now(using)
    counts = Counter(status for status, *_ in rows)
    lease_ends = [until for status, until, *_ in rows if status == Status.RUNNING and until <= now]
    # Since it was reset, retried or recovered, not since it was born.
    due_since = [
        max(moved, after or moved)
        for status, _, after, moved in rows
        if status == Status.PENDING and (after is None or after <= now)
    ]
    return {
        "model": root._meta.label,
        "database": using,
        "pending": counts[Status.PENDING],
        "due": len(due_since),
        "running": counts[Status.RUNNING],
        "lease_ended": len(lease_ends),
        "is_all": len(rows) < MAX_ROWS,
        "longest_wait": _age(due_since, now),
        "longest_ended": _age(lease_ends, now),
    }


def _age(moments: list[datetime], now: datetime) -> float | None:
    return round((now - min(moments)).total_seconds(), 3) if moments else None


def _subscriptions(using: str) -> list[dict[str, Any]]:
    """How far behind each durable subscriber is; of at most MOST_ROWS deliveries."""
    try:
        names = ("subscription", "due_time", "event_time")
        deliveries = list(all_deliveries(using).order_by("pk").values_list(*names)[:MAX_ROWS])
    except Error as error:
        _logger.warning("deliveries_unreadable database=%s error=%s", using, error)
        connections[using].close()
        return []
    now = clock.now(using)
    return [
        {
            "subscription": name,
            "database": using,
            "waiting": sum(due is not None for one, due, _ in deliveries if one == name),
            "dead": sum(due is None for one, due, _ in deliveries if one == name),
            "lag": _age(
                [when for one, due, when in deliveries if one == name and due is not None], now
            ),
            "is_known": name in registered_subscribers(),
        }
        for name in sorted({name for name, *_ in deliveries} | {*registered_subscribers()})
    ]


def _model(model: type[SimpleTask], is_redis_up: bool) -> dict[str, Any]:
    channel = model.get_event_channel()
    state: dict[str, Any] = {"model": model._meta.label, "channel": channel}
    state |= dict.fromkeys(("messages", "held", "dead_letters"))
    try:
        if is_redis_up:
            queue = get_queue()
            state["messages"] = queue.waiting(channel)
            state["held"] = queue.running(channel)
            state["dead_letters"] = queue.dead_letter_count(channel)
    except QueueUnavailable as error:
        _logger.warning("redis_went_away error=%s", error)
    return state


def _workers() -> list[dict[str, Any]]:
    try:
        reports = get_queue().workers()
    except QueueUnavailable:
        return []
    return [
        {
            "worker": report.worker,
            "seconds_since_report": report.age,
            "seconds_since_recovery": _seconds_since_recovery(report),
            **report.status,
        }
        for report in reports
    ]


def _seconds_since_recovery(report: Report) -> float:
    """Seconds since ended leases were looked for on the worker's node; since it began, if never.

    By the node's own clock until it reported, so that clocks may differ.
    """
    details = report.status
    started = float(details.get("began", 0.0))
    last = float(details.get("chores", {}).get("expired", {}).get("ended") or started)
    return round(report.age + float(details.get("time", last)) - last, 3)

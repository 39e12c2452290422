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
from ..db.limited_queries import first_of
from ..exceptions import InvalidSetting, QueueUnavailable
from ..ledger.outbox import waiting
from ..ledger.subscribers import registered
from ..models.queryset import rows_of
from ..models.registry import tables, task_models
from ..models.task import SimpleTask
from ..queue import Report, get_queue, redact
from ..states import Status
from . import problems
from .scope import Scope

_logger = logging.getLogger(__name__)

#: Rows that are looked at per table: those for which somebody has to act first.
MOST_ROWS = 1000

Health = dict[str, Any]


def look() -> Health:
    """The state of this project's tasks, in plain values; ``problems`` has English sentences.

    Nothing raises and nothing is counted in full: of each table at most MOST_ROWS rows are read;
    per model a few commands to Redis. ``healthy`` means that there are no problems.
    """
    health: Health = {"time": datetime.now(UTC).isoformat(), "version": __version__}
    found = tables()
    health["databases"] = {alias: _database(alias) for alias in sorted(found)}
    health["redis"] = _redis()
    asks_redis = health["redis"]["error"] is None
    silent = {alias: one["error"] for alias, one in health["databases"].items() if one["error"]}
    scope = Scope(silent=silent)
    health["tables"] = [told for together in scope.asked(_tables) for told in together]
    for alias, error in silent.items():
        # One that went away between the questions.
        health["databases"].get(alias, {})["error"] = error
    said = _instructions()
    paused = {one.target: _told_by(one) for one in said if one.action == control.PAUSE}
    health["models"] = [
        {**_model(model, asks_redis), "paused": paused.get(model._meta.label)}
        for model in task_models()
    ]
    health["subscriptions"] = [
        told
        for using, database in health["databases"].items()
        if database["error"] is None
        for told in _subscriptions(using)
    ]
    stopping = {one.target for one in said if one.action == control.STOP}
    workers = _workers() if asks_redis else []
    health["workers"] = [{**one, "is_to_stop": one["worker"] in stopping} for one in workers]
    health["problems"] = [str(problem) for problem in problems.of(health)]
    health["healthy"] = not health["problems"]
    return health


def _database(alias: str) -> dict[str, Any]:
    told = {"vendor": connections[alias].vendor, "error": None}
    try:
        if not clock.calibrate(alias):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
    except Error as error:
        told["error"] = str(error) or type(error).__name__
        connections[alias].close()
    return told


def _instructions() -> list[control.OperatorCommand]:
    try:
        return control.standing()
    except Error as error:
        _logger.warning("instructions_unreadable error=%s", error)
        return []


def _told_by(said: control.OperatorCommand) -> dict[str, Any]:
    return {"time": said.time.isoformat(), "actor": said.actor, "reason": said.reason}


def _redis() -> dict[str, Any]:
    told: dict[str, Any] = {"url": None, "version": None, "warnings": [], "error": None}
    try:
        told["url"] = redact(options.simq_redis_url)
        told["version"] = get_queue().version()
        told["warnings"] = get_queue().check_server()
    except (QueueUnavailable, InvalidSetting) as error:
        told["error"] = str(error)
    return told


def _tables(using: str, together: list[type[SimpleTask]]) -> list[dict[str, Any]]:
    """What waits or runs in each table of a database; in one statement."""
    names = ("status", "check_at", "run_after", "mod_time")
    queries = {
        root: rows_of(root, using)
        .filter(check_at__isnull=False)
        .order_by("check_at")
        .values_list(*names)
        for root in together
    }
    found = first_of(using, queries, MOST_ROWS)
    return [_table(root, using, rows) for root, rows in found.items()]


def _table(root: type[SimpleTask], using: str, found: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The rows that wait or run; of more than MOST_ROWS those for which somebody must act first."""
    now = clock.now(using)
    counts = Counter(status for status, *_ in found)
    ended = [until for status, until, *_ in found if status == Status.RUNNING and until <= now]
    # Since it was reset, retried or recovered, not since it was born.
    due = [
        max(moved, after or moved)
        for status, _, after, moved in found
        if status == Status.PENDING and (after is None or after <= now)
    ]
    return {
        "model": root._meta.label,
        "database": using,
        "pending": counts[Status.PENDING],
        "due": len(due),
        "running": counts[Status.RUNNING],
        "lease_ended": len(ended),
        "is_all": len(found) < MOST_ROWS,
        "longest_wait": _age(due, now),
        "longest_ended": _age(ended, now),
    }


def _age(moments: list[datetime], now: datetime) -> float | None:
    return round((now - min(moments)).total_seconds(), 3) if moments else None


def _subscriptions(using: str) -> list[dict[str, Any]]:
    """How far behind each durable subscriber is; of at most MOST_ROWS deliveries."""
    try:
        names = ("subscription", "due_time", "event_time")
        found = list(waiting(using).order_by("pk").values_list(*names)[:MOST_ROWS])
    except Error as error:
        _logger.warning("deliveries_unreadable database=%s error=%s", using, error)
        connections[using].close()
        return []
    now = clock.now(using)
    return [
        {
            "subscription": name,
            "database": using,
            "waiting": sum(due is not None for one, due, _ in found if one == name),
            "dead": sum(due is None for one, due, _ in found if one == name),
            "lag": _age([when for one, due, when in found if one == name and due is not None], now),
            "is_known": name in registered(),
        }
        for name in sorted({name for name, *_ in found} | {*registered()})
    ]


def _model(model: type[SimpleTask], asks_redis: bool) -> dict[str, Any]:
    channel = model.get_event_channel()
    told: dict[str, Any] = {"model": model._meta.label, "channel": channel}
    told |= dict.fromkeys(("messages", "held", "dead_letters"))
    try:
        if asks_redis:
            queue = get_queue()
            told["messages"] = queue.waiting(channel)
            told["held"] = queue.running(channel)
            told["dead_letters"] = queue.buried(channel)
    except QueueUnavailable as error:
        _logger.warning("redis_went_away error=%s", error)
    return told


def _workers() -> list[dict[str, Any]]:
    try:
        roll = get_queue().roll()
    except QueueUnavailable:
        return []
    return [
        {
            "worker": report.worker,
            "seconds_since_report": report.age,
            "seconds_since_recovery": _since_recovery(report),
            **report.said,
        }
        for report in roll
    ]


def _since_recovery(report: Report) -> float:
    """Seconds since ended leases were looked for on the worker's node; since it began, if never.

    By the node's own clock until it reported, so that clocks may differ.
    """
    said = report.said
    began = float(said.get("began", 0.0))
    last = float(said.get("chores", {}).get("expired", {}).get("ended") or began)
    return round(report.age + float(said.get("time", last)) - last, 3)

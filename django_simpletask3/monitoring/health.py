"""Take a health snapshot: databases, Redis, task tables, models, subscribers and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from django.db import Error, connections, router

from .. import __version__, control
from ..conf.options import options
from ..db import clock
from ..db.errors import MissingSchema, error_text
from ..db.limited_queries import capped_counts, first_rows, key_as_text, parse_key
from ..exceptions import InvalidSetting, QueueRefused, QueueUnavailable
from ..ledger.outbox import all_deliveries
from ..ledger.subscribers import registered_subscribers
from ..logs import get_logger
from ..models.queryset import rows_of
from ..models.registry import models_by_database, task_models
from ..models.task import SimpleTask
from ..queue import get_queue, redact
from ..states import Status
from . import problems
from .blocked_tasks import dependency_health, limit_health
from .health_types import (
    DatabaseHealth,
    Health,
    ModelHealth,
    Pause,
    RedisHealth,
    SubscriptionHealth,
    TableHealth,
    WorkerHealth,
)
from .schedules import overdue_schedules
from .scope import QueryScope
from .worker_report import read_report

_logger = get_logger(__name__)

#: Rows that are read per table: those with the earliest due time or lease end.
MAX_ROWS = 1000

T = TypeVar("T")
_TableRow = tuple[Status, datetime, datetime | None, datetime, str]
_DeliveryRow = tuple[str, datetime | None, datetime]


def snapshot() -> Health:
    """Return the state of the project's tasks, with its problems as English sentences.

    Raise nothing if a database or Redis does not answer. Read at most MAX_ROWS rows of each table,
    and send Redis a few commands per model.
    """
    databases, tables = _databases_and_tables()
    redis = _redis()
    commands = _operator_commands(databases)
    health = Health(
        time=datetime.now(UTC).isoformat(),
        version=__version__,
        databases=databases,
        redis=redis,
        tables=tables,
        models=_models(commands, is_redis_up=redis.is_used and redis.error is None),
        subscriptions=[
            subscription
            for using, database in databases.items()
            if database.error is None
            for subscription in _subscriptions(using)
        ],
        workers=_workers(commands) if redis.error is None else [],
        limits=_of_each_database(limit_health, databases),
        dependencies=_of_each_database(dependency_health, databases),
        overdue_schedules=_of_each_database(overdue_schedules, databases),
    )
    sentences = [str(problem) for problem in problems.find_problems(health)]
    return replace(health, problems=sentences, healthy=not sentences)


def _databases_and_tables() -> tuple[dict[str, DatabaseHealth], list[TableHealth]]:
    states = {alias: _database(alias) for alias in sorted(models_by_database())}
    unreachable = {alias: state.error for alias, state in states.items() if state.error}
    scope = QueryScope(unreachable=unreachable)
    tables = [table for group in scope.query_databases(_tables) for table in group]
    # A database may have become unreachable since the first check.
    databases = {a: replace(state, error=unreachable.get(a)) for a, state in states.items()}
    return databases, tables


def _database(alias: str) -> DatabaseHealth:
    problem = None
    try:
        if not clock.calibrate(alias):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
    except Error as error:
        problem = error_text(error)
        connections[alias].close()
    return DatabaseHealth(connections[alias].vendor, problem)


def _operator_commands(databases: dict[str, DatabaseHealth]) -> list[control.OperatorCommand]:
    """The operator commands; if their table is missing, the health of its database says so."""
    try:
        return control.current_commands()
    except Error as error:
        _logger.warning("commands_unreadable error=%s", error)
        text, alias = error_text(error), router.db_for_read(control.OperatorCommand)
        if isinstance(text, MissingSchema):
            databases[alias] = DatabaseHealth(connections[alias].vendor, text)
        return []


def _redis() -> RedisHealth:
    state = RedisHealth()
    try:
        state = replace(state, url=redact(options.simq_redis_url))
        queue = get_queue()
        if not queue.has_messages:
            return replace(state, is_used=False)
        queue.check_rights()
        state = replace(state, version=queue.version() or None)
        return replace(state, warnings=queue.check_server())
    except (QueueUnavailable, InvalidSetting) as error:
        return replace(state, error=str(error), is_refusal=isinstance(error, QueueRefused))


def _tables(using: str, roots: list[type[SimpleTask]]) -> list[TableHealth]:
    """The health of each table of a database, in two queries."""
    queries = {
        root: rows_of(root, using)
        .filter(check_at__isnull=False)
        .order_by("check_at")
        .values_list("status", "check_at", "run_after", "mod_time", key_as_text("pk"))
        for root in roots
    }
    rows_by_root = first_rows(using, queries, MAX_ROWS)
    # By the index of the status: a blocked task has no time at which recovery examines it.
    blocked_rows = {
        root: rows_of(root, using).filter(status=Status.BLOCKED).order_by().values_list("pk")
        for root in roots
    }
    blocked = capped_counts(using, blocked_rows, MAX_ROWS)
    return [_table(root, using, rows, blocked[root]) for root, rows in rows_by_root.items()]


def _table(root: type[SimpleTask], using: str, rows: list[_TableRow], blocked: int) -> TableHealth:
    now = clock.now(using)
    counts = Counter(status for status, *_ in rows)
    lease_ends = [end for status, end, *_ in rows if status == Status.RUNNING and end <= now]
    # A task that was reset, retried or recovered waits since then, not since it was added.
    waiting = [
        (max(modified, run_after or modified), run_after is None or run_after <= now, key)
        for status, _, run_after, modified, key in rows
        if status == Status.PENDING
    ]
    due_since = [moment for moment, is_due, _ in waiting if is_due]
    later = [moment for moment, is_due, _ in waiting if not is_due]
    return TableHealth(
        model=root._meta.label,
        database=using,
        pending=counts[Status.PENDING],
        due=len(due_since),
        running=counts[Status.RUNNING],
        blocked=blocked,
        expired_leases=len(lease_ends),
        is_complete=len(rows) < MAX_ROWS,
        longest_wait=_age(due_since, now),
        longest_expired=_age(lease_ends, now),
        next_due=round((min(later) - now).total_seconds(), 3) if later else None,
        oldest=parse_key(root, min(waiting)[-1]) if waiting else None,
    )


def _of_each_database(
    read: Callable[[str], list[T]], databases: Mapping[str, DatabaseHealth]
) -> list[T]:
    scope = QueryScope(unreachable={u: d.error for u, d in databases.items() if d.error})
    found = scope.query_databases(lambda using, _: read(using))
    return [health for healths in found for health in healths]


def _age(moments: list[datetime], now: datetime) -> float | None:
    return round((now - min(moments)).total_seconds(), 3) if moments else None


def _subscriptions(using: str) -> list[SubscriptionHealth]:
    """The health of each durable subscriber; of MAX_ROWS deliveries at most."""
    names = ("subscription", "due_time", "event_time")
    try:
        deliveries = list(all_deliveries(using).order_by("pk").values_list(*names)[:MAX_ROWS])
    except Error as error:
        _logger.warning("deliveries_unreadable database=%s error=%s", using, error)
        connections[using].close()
        return []
    now = clock.now(using)
    rows_by_name: dict[str, list[_DeliveryRow]] = {name: [] for name in registered_subscribers()}
    for row in deliveries:
        rows_by_name.setdefault(row[0], []).append(row)
    return [_subscription(name, using, rows_by_name[name], now) for name in sorted(rows_by_name)]


def _subscription(
    name: str, using: str, rows: list[_DeliveryRow], now: datetime
) -> SubscriptionHealth:
    # A dead delivery has no due time.
    waiting_since = [event_time for _, due_time, event_time in rows if due_time is not None]
    return SubscriptionHealth(
        subscription=name,
        database=using,
        waiting=len(waiting_since),
        dead=len(rows) - len(waiting_since),
        lag=_age(waiting_since, now),
        is_registered=name in registered_subscribers(),
    )


def _models(commands: list[control.OperatorCommand], *, is_redis_up: bool) -> list[ModelHealth]:
    pauses = {
        command.target: Pause(command.time.isoformat(), command.actor, command.reason)
        for command in commands
        if command.action == control.PAUSE
    }
    return [_model(model, pauses.get(model._meta.label), is_redis_up) for model in task_models()]


def _model(model: type[SimpleTask], pause: Pause | None, is_redis_up: bool) -> ModelHealth:
    channel = model.get_event_channel()
    state = ModelHealth(model._meta.label, channel, paused=pause)
    if not is_redis_up:
        return state
    queue = get_queue()
    try:
        state = replace(state, messages=queue.waiting(channel))
        state = replace(state, in_flight=queue.running(channel))
        return replace(state, dead_letters=queue.dead_letter_count(channel))
    except QueueUnavailable as error:
        _logger.debug("redis_unreachable error=%s", error)
        return state


def _workers(commands: list[control.OperatorCommand]) -> list[WorkerHealth]:
    try:
        reports = get_queue().workers()
    except QueueUnavailable:
        return []
    stopping = {command.target for command in commands if command.action == control.STOP}
    return [read_report(report, report.worker in stopping) for report in reports]

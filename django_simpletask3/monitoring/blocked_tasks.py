"""How many tasks are blocked, and for how long: by limits, and by tasks that they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ..db import clock
from ..db.limited_queries import first_rows
from ..dependencies.tables import (
    DependentState,
    GroupState,
    dependents_of,
    groups_of,
    has_prerequisite_models,
)
from ..ledger.task_row import all_rows
from ..limits.declared import limited_models, limits_by_name
from ..limits.tables import LimitPlace, LimitWaiter
from .health_types import DependencyHealth, LimitHealth

#: Rows that are read of a database: the places and the waiting tasks of each limit, and of all that
#: were removed; groups of prerequisites, and tasks that wait for them.
MAX_ROWS = 1000

#: Rows of the name of a limit and a time.
_Rows = Sequence[tuple[Any, ...]]


def limit_health(using: str) -> list[LimitHealth]:
    """The health of each limit in the database, by name, in one query; none without limits."""
    if not any(limited_models()):
        return []
    limits = limits_by_name()
    rows = first_rows(using, _limit_queries(using, limits), MAX_ROWS)
    removed = {name for what in ("taken", "waiting") for name, _ in rows[what, ""]}
    now = clock.now(using)
    found = [
        _limit_health(name, using, rows["taken", name], rows["waiting", name], now)
        for name in limits
    ]
    for name in removed:
        own = {what: [row for row in rows[what, ""] if row[0] == name] for what, _ in rows}
        found.append(_limit_health(name, using, own["taken"], own["waiting"], now))
    return sorted(found, key=lambda health: health.limit)


def _limit_health(
    name: str, using: str, taken: _Rows, waiting: _Rows, now: datetime
) -> LimitHealth:
    limit = limits_by_name().get(name)
    first = min((moment for _, moment in waiting), default=None)
    return LimitHealth(
        limit=name,
        database=using,
        running=limit.running if limit else None,
        taken=len(taken),
        waiting=len(waiting),
        longest_wait=None if first is None else round((now - first).total_seconds(), 3),
    )


def _limit_queries(using: str, names: Iterable[str]) -> dict[tuple[str, str], Any]:
    """The queries by what they read and the limit; the name is empty for those removed."""
    places = all_rows(LimitPlace, using).filter(number__isnull=False).order_by("pk")
    waiters = all_rows(LimitWaiter, using).order_by("pk")
    queries = {
        ("taken", ""): places.exclude(gate__name__in=names),
        ("waiting", ""): waiters.exclude(gate__name__in=names),
    }
    for name in names:
        queries["taken", name] = places.filter(gate__name=name)
        queries["waiting", name] = waiters.filter(gate__name=name)
    columns = {"taken": "held_until", "waiting": "block_time"}
    return {key: rows.values_list("gate__name", columns[key[0]]) for key, rows in queries.items()}


def dependency_health(using: str) -> list[DependencyHealth]:
    """The health of dependencies in the database, in one query; none if no task may wait."""
    if not has_prerequisite_models():
        return []
    rows = first_rows(using, _dependency_queries(using), MAX_ROWS)
    waiting, now = rows["dependents"], clock.now(using)
    return [
        DependencyHealth(
            database=using,
            open_groups=min(len(rows["waiting"]) + len(rows["to be served"]), MAX_ROWS),
            waiting=len(waiting),
            longest_wait=round((now - waiting[0][0]).total_seconds(), 3) if waiting else None,
        )
    ]


def _dependency_queries(using: str) -> dict[str, Any]:
    groups, dependents = groups_of(using), dependents_of(using)
    waiting = dependents.filter(
        group__state__in=(GroupState.WAITING, GroupState.TO_BE_SERVED),
        state=DependentState.WAITING,
    )
    return {
        "waiting": groups.filter(state=GroupState.WAITING).values_list("add_time"),
        "to be served": groups.filter(state=GroupState.TO_BE_SERVED).values_list("add_time"),
        "dependents": waiting.order_by("group__add_time").values_list("group__add_time"),
    }

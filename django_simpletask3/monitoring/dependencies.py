"""How many tasks wait for others, and for how long."""

from __future__ import annotations

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
from .health_types import DependencyHealth

#: Groups, and tasks that wait, that are read of a database.
MAX_ROWS = 1000


def dependency_health(using: str) -> list[DependencyHealth]:
    """The health of dependencies in the database, in one query; none if no task may wait."""
    if not has_prerequisite_models():
        return []
    rows = first_rows(using, _queries(using), MAX_ROWS)
    waiting, now = rows["dependents"], clock.now(using)
    return [
        DependencyHealth(
            database=using,
            open_groups=min(len(rows["waiting"]) + len(rows["to be served"]), MAX_ROWS),
            waiting=len(waiting),
            longest_wait=round((now - waiting[0][0]).total_seconds(), 3) if waiting else None,
        )
    ]


def _queries(using: str) -> dict[str, Any]:
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

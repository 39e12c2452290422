"""What was removed of the tables of tasks, and which tasks are on legal hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from django.db import connections
from django.db.utils import NotSupportedError

from ...db.limited_queries import BoundQuery, Placeholder, first_rows, key_as_text, parse_key
from ...ledger.event import event_model_of
from ...ledger.fields import KindField
from ...ledger.task_row import all_rows
from ...ledger.tombstone import PruneTarget, Tombstone
from ...models.task import SimpleTask
from ...monitoring.scope import QueryScope
from ...schema.triggers import Table, tables_with_expected_triggers
from ...states import EventKind
from ..html.times import local_time

#: Tombstones, each of a batch of tasks, that are read of each table.
MAX_TOMBSTONES = 200
#: Holds, and lifted holds, that are read of each table.
MAX_HOLDS = 1000

#: A table: the label of its root model, and its database.
TableKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed on the last day on which something was: tasks, and results of others."""

    day: date
    tasks: int
    payloads: int
    #: Whether there may be more of that day.
    is_at_least: bool


def last_removals(scope: QueryScope) -> dict[TableKey, Removal]:
    """What was removed last of each table that ever lost something; one statement per database."""
    found: dict[TableKey, Removal] = {}
    for removals in scope.query_databases(_removals):
        found |= removals
    return found


def _removals(using: str, roots: list[type[SimpleTask]]) -> dict[TableKey, Removal]:
    columns = ("time", "scope", "tasks")
    labels = [root._meta.label for root in roots]
    queries = {
        label: all_rows(Tombstone, using)
        .filter(model=label)
        .order_by("-time")
        .values_list(*columns)
        for label in labels
    }
    rows = first_rows(using, queries, MAX_TOMBSTONES)
    return {(label, using): _removal(rows[label]) for label in labels if rows[label]}


def _removal(rows: list[tuple[Any, ...]]) -> Removal:
    day = _local_day(rows[0][0])
    of_day = [(scope, tasks) for time, scope, tasks in rows if _local_day(time) == day]
    payloads = sum(tasks for scope, tasks in of_day if scope == PruneTarget.PAYLOAD)
    whole = sum(tasks for scope, tasks in of_day if scope != PruneTarget.PAYLOAD)
    return Removal(day, whole, payloads, is_at_least=len(of_day) == MAX_TOMBSTONES)


def _local_day(time: datetime) -> date:
    return local_time(time).date()


@dataclass(frozen=True, slots=True)
class Holds:
    """The tasks of a table that are on legal hold; None if there were too many holds to read."""

    model: type[SimpleTask]
    database: str
    keys: list[str] | None


def current_holds(scope: QueryScope) -> list[Holds]:
    """The tables with tasks on legal hold; one statement per database."""
    return [
        holds
        for of_database in scope.query_databases(partial(_holds, scope))
        for holds in of_database
    ]


def _holds(scope: QueryScope, using: str, roots: list[type[SimpleTask]]) -> list[Holds]:
    kind = Placeholder("kind", KindField())
    events = {
        root: scope.events(root, using)
        .filter(kind=kind)
        .order_by("-event_time", "-pk")
        .values_list(key_as_text("task_id"), "sequence")
        for root in roots
    }
    queries = {
        (root, k): BoundQuery(query, {"kind": k})
        for root, query in events.items()
        for k in (EventKind.HOLD, EventKind.LIFT)
    }
    rows = first_rows(using, queries, MAX_HOLDS)
    found = (_holds_of(scope, root, using, rows) for root in roots)
    return [holds for holds in found if holds.keys is None or holds.keys]


def _holds_of(
    scope: QueryScope,
    root: type[SimpleTask],
    using: str,
    rows: Mapping[tuple[type[SimpleTask], EventKind], list[tuple[Any, ...]]],
) -> Holds:
    holds, lifts = rows[root, EventKind.HOLD], rows[root, EventKind.LIFT]
    if MAX_HOLDS in (len(holds), len(lifts)):
        return Holds(root, using, None)
    lifted = _newest(lifts)
    held = [key for key, sequence in _newest(holds).items() if sequence > lifted.get(key, 0)]
    keys = [parse_key(root, key) for key in held]
    visible_keys = scope.visible_keys(root, using, set(keys))
    return Holds(root, using, [key for key in keys if key in visible_keys])


def _newest(rows: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """The last sequence number of each task."""
    newest: dict[str, int] = {}
    for key, sequence in rows:
        newest[key] = max(sequence, newest.get(key, 0))
    return newest


def protected_tables(scope: QueryScope) -> dict[TableKey, bool | None]:
    """Whether triggers keep the events of each table; None where there can be none."""
    found: dict[TableKey, bool | None] = {}
    for protection in scope.query_databases(_protection):
        found |= protection
    return found


def _protection(using: str, roots: list[type[SimpleTask]]) -> dict[TableKey, bool | None]:
    tables = {root: Table.of(event_model_of(root)) for root in roots}
    protected: set[Table] | None
    try:
        protected = tables_with_expected_triggers(connections[using], list(tables.values()))
    except NotSupportedError:
        protected = None
    return {
        (root._meta.label, using): None if protected is None else table in protected
        for root, table in tables.items()
    }

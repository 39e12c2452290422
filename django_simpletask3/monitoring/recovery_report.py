"""List and count claims that were recovered, dropped, released or rejected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from django.db import Error, models

from ..db.limited_queries import (
    BoundQuery,
    Placeholder,
    capped_value_counts,
    first_rows,
    key_as_text,
    parse_key,
)
from ..ledger.event import TaskEvent
from ..ledger.fields import KindField
from ..ledger.task_row import table_model
from ..models.registry import each_table
from ..models.task import SimpleTask
from ..states import EventKind, kinds_where
from .scope import QueryScope

#: The kinds that are listed by default.
KINDS = kinds_where(lambda spec: spec.reported_as_recovery)

#: Recoveries that are counted, of each table and kind.
MAX_COUNTED = 10_000
#: Recoveries that are counted of all tables whose rows are checked one by one.
MAX_CHECKED = 1000

#: Events that are read at a time for a list of all recoveries.
PAGE_SIZE = 500
#: Rows that are read, of each table and kind, in search of those of a worker.
MAX_READ = 5000
_KIND = Placeholder("kind", KindField())

_Queries = Mapping[tuple[type[SimpleTask], EventKind], BoundQuery]


class _Row(NamedTuple):
    """The columns of an event; the key of its task is text, whatever its model."""

    task_id: str
    sequence: int
    kind: str
    event_time: datetime
    worker: str
    actor: str
    reason: str
    attempt: int
    data: Any


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recover, drop, release or reject; ``worker`` lost the claim, or reported too late."""

    time: datetime
    model: str
    database: str
    task: str
    sequence: int
    kind: str
    reason: str
    worker: str
    attempt: int
    actor: str


#: The field names of ``Recovery``, in the order of ``dataclasses.astuple``.
COLUMNS = tuple(Recovery.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class RecoveryFilter:
    """Which recoveries to list: from ``since`` until before ``until``, of ``kinds``.

    ``reason`` must be the event's reason, which may be empty; ``worker`` a part of the worker's
    name. A proxy or a child model stands for the whole table of its root model.
    """

    scope: QueryScope = field(default_factory=QueryScope)
    since: datetime | None = None
    until: datetime | None = None
    kinds: Collection[EventKind] = KINDS
    reason: str | None = None
    worker: str = ""

    def conditions(self) -> dict[str, object]:
        """The lookups of an event that the database checks."""
        times = {"event_time__gte": self.since, "event_time__lt": self.until}
        lookups = {**times, "reason": self.reason}
        return {lookup: value for lookup, value in lookups.items() if value is not None}


def recoveries(recovery_filter: RecoveryFilter) -> Iterator[Recovery]:
    """Yield the recoveries that match, by table and kind, oldest first.

    They are read in pages by the index of kind and time: memory does not grow with their number.
    """
    scope = recovery_filter.scope
    for root, using in each_table(scope.models):
        if scope.unreachable and using in scope.unreachable:
            continue
        matches = _table_recoveries(recovery_filter, root, using)
        try:
            while batch := list(islice(matches, PAGE_SIZE)):
                keys = scope.visible_keys(root, using, {recovery.task for recovery in batch})
                yield from (recovery for recovery in batch if recovery.task in keys)
        except Error as error:
            scope.mark_unreachable(using, error)
    scope.mark_unanswered()


def _table_recoveries(
    recovery_filter: RecoveryFilter, root: type[SimpleTask], using: str
) -> Iterator[Recovery]:
    scope, conditions = recovery_filter.scope, recovery_filter.conditions()
    querysets = (_events(scope, root, using, k, conditions) for k in recovery_filter.kinds)
    for event in chain.from_iterable(map(_iterate_events, querysets)):
        recovery = _recovery(root, using, event)
        if recovery_filter.worker in recovery.worker:
            yield recovery


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: at ``time``, after ``skip`` recoveries of that very time."""

    time: datetime
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Recoveries, newest first; ``next_cursor`` is None on the last page."""

    recoveries: list[Recovery]
    next_cursor: Cursor | None


def page(recovery_filter: RecoveryFilter, size: int, after: Cursor | None = None) -> Page:
    """The newest ``size`` recoveries that match, from the cursor ``after`` on.

    One query per database, limited by its indexes. With a ``worker``, or if rows are checked one by
    one, there may be a few more queries, and fewer recoveries on a page than ``size``.
    """
    newest = _newest_page(recovery_filter, size, after)
    return Page(_visible_recoveries(recovery_filter.scope, newest.recoveries), newest.next_cursor)


def _visible_recoveries(scope: QueryScope, recoveries: list[Recovery]) -> list[Recovery]:
    checked_roots = {root._meta.label: root for root in scope.row_checks}
    keys: dict[tuple[str, str], set[str]] = {}
    for recovery in recoveries:
        if recovery.model in checked_roots:
            keys.setdefault((recovery.model, recovery.database), set()).add(recovery.task)
    visible_keys: dict[tuple[str, str], Collection[str]] = dict.fromkeys(keys, ())
    for (label, using), tasks in keys.items():
        try:
            visible_keys[label, using] = scope.visible_keys(checked_roots[label], using, tasks)
        except Error as error:
            scope.mark_unreachable(using, error)
    return [
        recovery
        for recovery in recoveries
        if recovery.task in visible_keys.get((recovery.model, recovery.database), (recovery.task,))
    ]


def _newest_page(recovery_filter: RecoveryFilter, size: int, after: Cursor | None) -> Page:
    limit = size + (after.skip if after else 0) + 1
    query = partial(_database_page, recovery_filter, after, limit)
    results = list(recovery_filter.scope.query_databases(query))
    complete_since = _latest(result.complete_since for result in results)
    matches = [
        recovery
        for result in results
        for recovery in result.matches
        if complete_since is None or recovery.time > complete_since
    ]
    first_page = _first_page(sorted(matches, key=_newest_first), size, after)
    if complete_since is None or first_page.next_cursor is not None:
        return first_page
    # Nothing was read before complete_since: the next page begins there. If this one did, too, it
    # begins earlier, or the pages would not end.
    is_repeated = after is not None and after.time == complete_since
    next_cursor = Cursor(complete_since - timedelta(microseconds=is_repeated))
    return Page(first_page.recoveries, next_cursor)


@dataclass(frozen=True, slots=True)
class _DatabaseRecoveries:
    """Recoveries of one database, complete only for times after ``complete_since``, if any."""

    matches: list[Recovery]
    complete_since: datetime | None


def _database_page(
    recovery_filter: RecoveryFilter,
    after: Cursor | None,
    limit: int,
    using: str,
    roots: list[type[SimpleTask]],
) -> _DatabaseRecoveries:
    scope, worker = recovery_filter.scope, recovery_filter.worker
    conditions = recovery_filter.conditions()
    if after is not None:
        conditions["event_time__lte"] = after.time
    worker_condition = _worker_condition(worker) if worker else models.Q()
    rows = {
        root: _events(scope, root, using, _KIND, conditions)
        .filter(worker_condition)
        .order_by("-event_time", "-pk")
        .values_list(key_as_text("task_id"), *_Row._fields[1:])
        for root in roots
    }
    return _first_matches(using, _queries_by_kind(rows, recovery_filter.kinds), limit, worker)


def _queries_by_kind(
    rows: Mapping[type[SimpleTask], Any], kinds: Collection[EventKind]
) -> _Queries:
    return {(root, k): BoundQuery(q, {"kind": k}) for root, q in rows.items() for k in kinds}


def _worker_condition(worker: str) -> models.Q:
    """Events that name ``worker`` anywhere: more than those of that worker. JSON text is ASCII."""
    escaped = json.dumps(worker)[1:-1]
    return models.Q(worker__contains=worker) | models.Q(data__contains=escaped)


def _first_matches(using: str, queries: _Queries, count: int, worker: str) -> _DatabaseRecoveries:
    """The first ``count`` rows of each query that are of ``worker``.

    Where the database returned too many rows that only mention ``worker``, read further rows, up to
    MAX_READ of them.
    """
    matches: list[Recovery] = []
    complete_since, limit = None, count
    while queries:
        unfinished = {}
        for (root, kind), rows in first_rows(using, queries, limit).items():
            candidates = [
                _recovery(root, using, _Row(parse_key(root, row[0]), *row[1:])) for row in rows
            ]
            query_matches = [recovery for recovery in candidates if worker in recovery.worker]
            is_short = len(query_matches) < count and len(rows) == limit
            if is_short and limit < MAX_READ:
                unfinished[root, kind] = queries[root, kind]
                continue
            matches += query_matches
            if is_short:
                complete_since = _latest([complete_since, candidates[-1].time])
        queries, limit = unfinished, limit * 8
    return _DatabaseRecoveries(matches, complete_since)


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _newest_first(recovery: Recovery) -> tuple[float, str, str, str, int]:
    place = (recovery.model, recovery.database, recovery.task)
    return (-recovery.time.timestamp(), *place, -recovery.sequence)


def _first_page(recoveries: list[Recovery], size: int, after: Cursor | None) -> Page:
    remaining = recoveries[after.skip if after else 0 :]
    shown = remaining[:size]
    if len(remaining) <= size:
        return Page(shown, None)
    end = shown[-1].time
    skipped = after.skip if after is not None and after.time == end else 0
    return Page(shown, Cursor(end, skipped + sum(recovery.time == end for recovery in shown)))


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of recoveries by kind and reason; at least that, for the ``capped`` kinds."""

    numbers: dict[tuple[str, str], int]
    capped: frozenset[str]


def count_recoveries(since: datetime, scope: QueryScope | None = None) -> Counts:
    """Count the recoveries ``since`` a time, the most frequent first.

    One query per database; of each table and kind the newest MAX_COUNTED are counted, and of the
    tables whose rows are checked one by one the newest MAX_CHECKED.
    """
    scope = scope or QueryScope()
    counts, capped = _count_checked(since, scope)
    scope = replace(scope, models=_models_without_check(scope))
    for tallies in scope.query_databases(partial(_tallies, scope, since)):
        for (_root, kind), tally in tallies.items():
            if tally.total() > MAX_COUNTED:
                capped.add(str(kind))
                tally[tally.most_common(1)[0][0]] -= 1
            counts.update({(str(kind), reason): number for reason, number in tally.items()})
    return Counts(dict(counts.most_common()), frozenset(capped))


def _models_without_check(scope: QueryScope) -> list[type[SimpleTask]] | None:
    if scope.models is None:
        return None
    return [model for model in scope.models if table_model(model) not in scope.row_checks]


def _count_checked(since: datetime, scope: QueryScope) -> tuple[Counter[tuple[str, str]], set[str]]:
    """The counts for the tables whose rows are checked one by one, and the capped kinds."""
    models = [model for model in scope.models or () if table_model(model) in scope.row_checks]
    if not models:
        return Counter(), set()
    newest = page(RecoveryFilter(scope=replace(scope, models=models), since=since), MAX_CHECKED)
    counts = Counter((recovery.kind, recovery.reason) for recovery in newest.recoveries)
    return counts, {kind for kind, _reason in counts} if newest.next_cursor else set()


def _tallies(
    scope: QueryScope, since: datetime, using: str, roots: list[type[SimpleTask]]
) -> dict[tuple[type[SimpleTask], EventKind], Counter[str]]:
    rows = {
        root: _events(scope, root, using, _KIND, {"event_time__gte": since})
        .order_by("-event_time")
        .values_list("reason")
        for root in roots
    }
    return capped_value_counts(using, _queries_by_kind(rows, KINDS), MAX_COUNTED + 1)


def _iterate_events(events: Any) -> Iterator[TaskEvent]:
    events = events.order_by("event_time", "pk")
    batch = list(events[:PAGE_SIZE])
    while batch:
        yield from batch
        last = batch[-1]
        later = models.Q(event_time__gt=last.event_time) | models.Q(pk__gt=last.pk)
        batch = list(events.filter(later, event_time__gte=last.event_time)[:PAGE_SIZE])


def _events(
    scope: QueryScope,
    root: type[SimpleTask],
    using: str,
    kind: EventKind | Placeholder,
    conditions: dict[str, Any],
) -> Any:
    return scope.events(root, using).filter(kind=kind, **conditions)


def _recovery(root: type[SimpleTask], using: str, event: TaskEvent | _Row) -> Recovery:
    data = event.data if isinstance(event.data, dict) else {}
    return Recovery(
        time=event.event_time,
        model=root._meta.label,
        database=using,
        task=str(event.task_id),
        sequence=event.sequence,
        kind=str(event.kind),
        reason=event.reason,
        worker=str(data.get("lost_worker") or data.get("worker") or event.worker),
        attempt=int(data["attempt"]) if "refused" in data else event.attempt,
        actor=event.actor,
    )

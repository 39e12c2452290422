"""The auditor's view of what went wrong: claims that were lost, given up, given back or refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.db import Error, models
from django.db.models.functions import Cast

from ..db.limited_queries import BoundQuery, Placeholder, capped_value_counts, first_rows
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.fields import KindField
from ..models.registry import databases_of, table_models
from ..models.task import SimpleTask
from ..states import EventKind, kinds_where
from .scope import QueryScope

#: What is listed, unless some of these are asked for.
KINDS = kinds_where(lambda spec: spec.reported_as_recovery)

#: Recoveries that are counted, of each table and kind.
MAX_COUNTED = 10_000

_PAGE_SIZE = 500
#: Rows that are read, of each table and kind, in search of those of a worker.
_MAX_READ = 5000
_TEXT = models.CharField(max_length=255)
_KIND = Placeholder("kind", KindField())
_EVENT_FIELDS = ("sequence", "kind", "event_time", "worker", "actor", "reason", "attempt", "data")


@dataclass(frozen=True, slots=True)
class _Row:
    """What is read of an event; keys of different models are alike in text only."""

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
    """One recover, drop, release or reject; ``worker`` is who lost it, or came too late."""

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

    def cells(self) -> tuple[Any, ...]:
        """Its values, in the order of COLUMNS."""
        return tuple(getattr(self, name) for name in COLUMNS)


#: The names of what a recovery tells.
COLUMNS = tuple(Recovery.__dataclass_fields__)


def recoveries(
    chosen: QueryScope | Collection[type[SimpleTask]] | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Collection[EventKind] = KINDS,
    reason: str | None = None,
    worker: str = "",
) -> Iterator[Recovery]:
    """What was recovered from ``since`` until before ``until``: by table and kind, oldest first.

    ``reason`` must be the event's, which may be empty; ``worker`` a part of the worker's name. Read
    in pages by the index of kind and time: memory does not grow with their number. Of a proxy or a
    child, all that stands in the table of its root is meant.
    """
    bounds = {"event_time__gte": since, "event_time__lt": until, "reason": reason}
    filters = {name: bound for name, bound in bounds.items() if bound is not None}
    scope = QueryScope.of(chosen)
    for root in table_models(scope.models):
        for using in databases_of(root):
            if scope.unreachable and using in scope.unreachable:
                continue
            event_querysets = (_events(scope, root, using, kind, filters) for kind in kinds)
            try:
                for event in chain.from_iterable(map(_iterate_events, event_querysets)):
                    recovery = _recovery(root, using, event)
                    if worker in recovery.worker:
                        yield recovery
            except Error as error:
                scope.mark_unreachable(using, error)
    scope.mark_unanswered()


@dataclass(frozen=True, slots=True)
class Page:
    """Recoveries, the newest first; ``rest`` is where those before them begin, if there are any."""

    recoveries: list[Recovery]
    next_cursor: tuple[datetime, int] | None


def page(
    chosen: QueryScope | Collection[type[SimpleTask]] | None = None,
    *,
    size: int,
    since: datetime | None = None,
    after: tuple[datetime, int] | None = None,
    kinds: Collection[EventKind] = KINDS,
    reason: str | None = None,
    worker: str = "",
) -> Page:
    """The newest ``most`` recoveries; one statement per database, limited by its indexes.

    With a ``worker`` there may be a few more, and fewer recoveries on a page than there is room.

    ``until`` is the ``rest`` of the page before. Several events may have the same time: the second
    part of it says how many of that very time have been seen.
    """
    last_time, skip = after or (None, 0)
    bounds = {"event_time__gte": since, "event_time__lte": last_time, "reason": reason}
    filters = {name: bound for name, bound in bounds.items() if bound is not None}
    scope = QueryScope.of(chosen)
    worker_filter = _worker_filter(worker) if worker else models.Q()
    limit = size + skip + 1

    def query(using: str, root_models: list[type[SimpleTask]]) -> _DatabaseRecoveries:
        rows = {
            root: _events(scope, root, using, _KIND, filters)
            .filter(worker_filter)
            .order_by("-event_time", "-pk")
            .values_list(Cast("task_id", _TEXT), *_EVENT_FIELDS)
            for root in root_models
        }
        queries = {
            (root, kind): BoundQuery(rows[root], {"kind": kind})
            for root in root_models
            for kind in kinds
        }
        return _first_matches(using, queries, limit, worker)

    results = list(scope.query_databases(query))
    complete_since = max(
        (result.complete_since for result in results if result.complete_since is not None),
        default=None,
    )
    found_recoveries = [
        one
        for answer in results
        for one in answer.matches
        if complete_since is None or one.time > complete_since
    ]
    recovery_page = _first_page(sorted(found_recoveries, key=_newest_first)[skip:], size, after)
    if complete_since is None or recovery_page.next_cursor is not None:
        return recovery_page
    # Further back nothing was read: the next page begins there, or it would begin here once more.
    return Page(
        recovery_page.recoveries,
        (complete_since - timedelta(microseconds=complete_since == last_time), 0),
    )


@dataclass(frozen=True, slots=True)
class _DatabaseRecoveries:
    """Recoveries of one database; before ``cut``, if there is one, nobody has looked."""

    matches: list[Recovery]
    complete_since: datetime | None


def _worker_filter(worker: str) -> models.Q:
    """What may be of ``worker``: it stands somewhere in the event. A JSON text is ASCII."""
    escaped = json.dumps(worker)[1:-1]
    return models.Q(worker__contains=worker) | models.Q(data__contains=escaped)


def _first_matches(
    using: str, queries: Mapping[Any, Any], count: int, worker: str
) -> _DatabaseRecoveries:
    """The first ``wanted`` of each query that are of ``worker``.

    Further rows are read where the database took others for such, up to _MOST_READ of them.
    """
    matches: list[Recovery] = []
    complete_since, limit = None, count
    while queries:
        unfinished = {}
        for (root, kind), rows in first_rows(using, queries, limit).items():
            candidates = [
                _recovery(root, using, _Row(_key(root, row[0]), *row[1:])) for row in rows
            ]
            query_matches = [one for one in candidates if worker in one.worker]
            is_short = len(query_matches) < count and len(rows) == limit
            if is_short and limit < _MAX_READ:
                unfinished[root, kind] = queries[root, kind]
                continue
            matches += query_matches
            if is_short and (complete_since is None or candidates[-1].time > complete_since):
                complete_since = candidates[-1].time
        queries, limit = unfinished, limit * 8
    return _DatabaseRecoveries(matches, complete_since)


def _key(root: type[SimpleTask], text: str) -> str:
    # Some databases have keys in another form than Django's.
    return str(root._meta.pk.to_python(text))


def _newest_first(recovery: Recovery) -> Any:
    return (
        -recovery.time.timestamp(),
        recovery.model,
        recovery.database,
        recovery.task,
        -recovery.sequence,
    )


def _first_page(remaining: list[Recovery], size: int, after: tuple[datetime, int] | None) -> Page:
    shown = remaining[:size]
    if len(remaining) <= size:
        return Page(shown, None)
    end = shown[-1].time
    skipped = after[1] if after is not None and after[0] == end else 0
    return Page(shown, (end, skipped + sum(one.time == end for one in shown)))


@dataclass(frozen=True, slots=True)
class Counts:
    """How many recoveries there were, by kind and reason; of those in ``cut`` there are more."""

    numbers: dict[tuple[str, str], int]
    capped: frozenset[str]


def count_recoveries(
    since: datetime, chosen: QueryScope | Collection[type[SimpleTask]] | None = None
) -> Counts:
    """How many recoveries there were ``since`` then; the most frequent first.

    One statement per database; of each table and kind the newest MOST_COUNTED are counted.
    """
    scope = QueryScope.of(chosen)
    counts: Counter[tuple[str, str]] = Counter()
    capped = set()

    def query(using: str, root_models: list[type[SimpleTask]]) -> Any:
        rows = {
            root: _events(scope, root, using, _KIND, {"event_time__gte": since})
            .order_by("-event_time")
            .values_list("reason")
            for root in root_models
        }
        queries = {
            (root, kind): BoundQuery(rows[root], {"kind": kind})
            for root in root_models
            for kind in KINDS
        }
        return capped_value_counts(using, queries, MAX_COUNTED + 1)

    for result in scope.query_databases(query):
        for (_root, kind), tally in result.items():
            if tally.total() > MAX_COUNTED:
                capped.add(str(kind))
                tally[tally.most_common(1)[0][0]] -= 1
            counts.update({(str(kind), reason): number for reason, number in tally.items()})
    return Counts(dict(counts.most_common()), frozenset(capped))


def _iterate_events(events: Any) -> Iterator[TaskEvent]:
    events = events.order_by("event_time", "pk")
    batch = list(events[:_PAGE_SIZE])
    while batch:
        yield from batch
        last = batch[-1]
        later = models.Q(event_time__gt=last.event_time) | models.Q(pk__gt=last.pk)
        batch = list(events.filter(later, event_time__gte=last.event_time)[:_PAGE_SIZE])


def _events(
    scope: QueryScope,
    root: type[SimpleTask],
    using: str,
    kind: EventKind | Placeholder,
    filters: dict[str, Any],
) -> Any:
    return scope.restrict(_stream(root, using).filter(kind=kind, **filters), root, using, "task")


def _stream(root: type[SimpleTask], using: str) -> Any:
    return models.QuerySet(event_model_of(root), using=using)


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

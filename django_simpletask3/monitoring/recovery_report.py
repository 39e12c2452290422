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

from ..db.limited_queries import Blank, Filled, first_of, tallied_of
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.fields import KindField
from ..models.registry import databases_of, roots
from ..models.task import SimpleTask
from ..states import EventKind
from .scope import Scope

#: What is listed, unless some of these are asked for.
KINDS = (EventKind.RECOVER, EventKind.DROP, EventKind.RELEASE, EventKind.REJECT)

#: Recoveries that are counted, of each table and kind.
MOST_COUNTED = 10_000

_PAGE = 500
#: Rows that are read, of each table and kind, in search of those of a worker.
_MOST_READ = 5000
_TEXT = models.CharField(max_length=255)
_KIND = Blank("kind", KindField())
_READ = ("sequence", "kind", "event_time", "worker", "actor", "reason", "attempt", "data")


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
    chosen: Scope | Collection[type[SimpleTask]] | None = None,
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
    asked = {name: bound for name, bound in bounds.items() if bound is not None}
    scope = Scope.of(chosen)
    for root in roots(scope.models):
        for using in databases_of(root):
            if scope.silent and using in scope.silent:
                continue
            each = (_events(scope, root, using, kind, asked) for kind in kinds)
            try:
                for event in chain.from_iterable(map(_told, each)):
                    found = _recovery(root, using, event)
                    if worker in found.worker:
                        yield found
            except Error as error:
                scope.note(using, error)
    scope.note_unanswered()


@dataclass(frozen=True, slots=True)
class Page:
    """Recoveries, the newest first; ``rest`` is where those before them begin, if there are any."""

    found: list[Recovery]
    rest: tuple[datetime, int] | None


def newest(
    chosen: Scope | Collection[type[SimpleTask]] | None = None,
    *,
    most: int,
    since: datetime | None = None,
    until: tuple[datetime, int] | None = None,
    kinds: Collection[EventKind] = KINDS,
    reason: str | None = None,
    worker: str = "",
) -> Page:
    """The newest ``most`` recoveries; one statement per database, limited by its indexes.

    With a ``worker`` there may be a few more, and fewer recoveries on a page than there is room.

    ``until`` is the ``rest`` of the page before. Several events may have the same time: the second
    part of it says how many of that very time have been seen.
    """
    last, seen = until or (None, 0)
    bounds = {"event_time__gte": since, "event_time__lte": last, "reason": reason}
    asked = {name: bound for name, bound in bounds.items() if bound is not None}
    scope = Scope.of(chosen)
    held = _held_by(worker) if worker else models.Q()
    wanted = most + seen + 1

    def ask(using: str, together: list[type[SimpleTask]]) -> _Found:
        rows = {
            root: _events(scope, root, using, _KIND, asked)
            .filter(held)
            .order_by("-event_time", "-pk")
            .values_list(Cast("task_id", _TEXT), *_READ)
            for root in together
        }
        queries = {
            (root, kind): Filled(rows[root], {"kind": kind}) for root in together for kind in kinds
        }
        return _exactly(using, queries, wanted, worker)

    answers = list(scope.asked(ask))
    cut = max((answer.cut for answer in answers if answer.cut is not None), default=None)
    found = [one for answer in answers for one in answer.hits if cut is None or one.time > cut]
    page = _page(sorted(found, key=_newest_first)[seen:], most, until)
    if cut is None or page.rest is not None:
        return page
    # Further back nothing was read: the next page begins there, or it would begin here once more.
    return Page(page.found, (cut - timedelta(microseconds=cut == last), 0))


@dataclass(frozen=True, slots=True)
class _Found:
    """Recoveries of one database; before ``cut``, if there is one, nobody has looked."""

    hits: list[Recovery]
    cut: datetime | None


def _held_by(worker: str) -> models.Q:
    """What may be of ``worker``: it stands somewhere in the event. A JSON text is ASCII."""
    escaped = json.dumps(worker)[1:-1]
    return models.Q(worker__contains=worker) | models.Q(data__contains=escaped)


def _exactly(using: str, queries: Mapping[Any, Any], wanted: int, worker: str) -> _Found:
    """The first ``wanted`` of each query that are of ``worker``.

    Further rows are read where the database took others for such, up to _MOST_READ of them.
    """
    hits: list[Recovery] = []
    cut, limit = None, wanted
    while queries:
        again = {}
        for (root, kind), rows in first_of(using, queries, limit).items():
            told = [_recovery(root, using, _Row(_key(root, row[0]), *row[1:])) for row in rows]
            meant = [one for one in told if worker in one.worker]
            is_short = len(meant) < wanted and len(rows) == limit
            if is_short and limit < _MOST_READ:
                again[root, kind] = queries[root, kind]
                continue
            hits += meant
            if is_short and (cut is None or told[-1].time > cut):
                cut = told[-1].time
        queries, limit = again, limit * 8
    return _Found(hits, cut)


def _key(root: type[SimpleTask], text: str) -> str:
    # Some databases have keys in another form than Django's.
    return str(root._meta.pk.to_python(text))


def _newest_first(one: Recovery) -> Any:
    return (-one.time.timestamp(), one.model, one.database, one.task, -one.sequence)


def _page(rest: list[Recovery], most: int, until: tuple[datetime, int] | None) -> Page:
    shown = rest[:most]
    if len(rest) <= most:
        return Page(shown, None)
    end = shown[-1].time
    before = until[1] if until is not None and until[0] == end else 0
    return Page(shown, (end, before + sum(one.time == end for one in shown)))


@dataclass(frozen=True, slots=True)
class Counts:
    """How many recoveries there were, by kind and reason; of those in ``cut`` there are more."""

    numbers: dict[tuple[str, str], int]
    cut: frozenset[str]


def counted(since: datetime, chosen: Scope | Collection[type[SimpleTask]] | None = None) -> Counts:
    """How many recoveries there were ``since`` then; the most frequent first.

    One statement per database; of each table and kind the newest MOST_COUNTED are counted.
    """
    scope = Scope.of(chosen)
    counts: Counter[tuple[str, str]] = Counter()
    cut = set()

    def ask(using: str, together: list[type[SimpleTask]]) -> Any:
        rows = {
            root: _events(scope, root, using, _KIND, {"event_time__gte": since})
            .order_by("-event_time")
            .values_list("reason")
            for root in together
        }
        queries = {
            (root, kind): Filled(rows[root], {"kind": kind}) for root in together for kind in KINDS
        }
        return tallied_of(using, queries, MOST_COUNTED + 1)

    for answer in scope.asked(ask):
        for (_root, kind), tally in answer.items():
            if tally.total() > MOST_COUNTED:
                cut.add(str(kind))
                tally[tally.most_common(1)[0][0]] -= 1
            counts.update({(str(kind), reason): number for reason, number in tally.items()})
    return Counts(dict(counts.most_common()), frozenset(cut))


def _told(events: Any) -> Iterator[TaskEvent]:
    events = events.order_by("event_time", "pk")
    page = list(events[:_PAGE])
    while page:
        yield from page
        last = page[-1]
        rest = models.Q(event_time__gt=last.event_time) | models.Q(pk__gt=last.pk)
        page = list(events.filter(rest, event_time__gte=last.event_time)[:_PAGE])


def _events(
    scope: Scope, root: type[SimpleTask], using: str, kind: EventKind | Blank, asked: dict[str, Any]
) -> Any:
    return scope.kept(_stream(root, using).filter(kind=kind, **asked), root, using, "task")


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

"""The rows and streams of one table, read in batches: memory does not grow with the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, ExpressionWrapper, F, OuterRef

from ..ledger.event import TaskEvent, event_model_of, events_of
from ..ledger.projection import Projection
from ..models.task import SimpleTask
from ..states import EventKind

#: Rows that are held in memory at a time, with their results; and events.
ROWS, EVENTS = 100, 1000


def keys(root: type[SimpleTask], using: str) -> Iterator[list[Any]]:
    """The keys of all rows, then of all streams whose row is gone."""
    table, streams = _tables(root, using)
    yield from _keyset(table.order_by("pk").values_list("pk", flat=True), "pk")
    there = table.filter(pk=OuterRef("task_id"))
    rowless = streams.filter(~Exists(there)).order_by("task_id").values_list("task_id", flat=True)
    yield from _keyset(rowless.distinct(), "task_id")


def touched(
    root: type[SimpleTask], using: str, since: datetime | None, until: datetime | None = None
) -> Iterator[list[Any]]:
    """The keys of the tasks with an event from ``since`` until before ``until``."""
    bounds = {"event_time__gte": since, "event_time__lt": until}
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    _, streams = _tables(root, using)
    # All kinds are named for the index of kind and time.
    found = streams.filter(kind__in=list(EventKind), **bounds)
    pks = found.order_by("task_id").values_list("task_id", flat=True).distinct()
    yield from _keyset(pks, "task_id")


def rows(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The projected columns of these rows, as dicts; ``result_text`` is the result as stored."""
    text = ExpressionWrapper(F("result_data"), output_field=models.TextField())
    table, _ = _tables(root, using)
    names = ("pk", *Projection._fields, "error_data", "result_text")
    yield from table.filter(pk__in=pks).annotate(result_text=text).values(*names)


def streams(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> Iterator[TaskEvent]:
    """The streams of these tasks, one after the other, read in pages however long they are."""
    stream, left = events_of(root, using), list(pks)
    while left:
        page = list(stream.filter(task__in=left)[:EVENTS])
        yield from page
        if len(page) < EVENTS:
            return
        yield from _rest(stream.filter(task=page[-1].task_id), page[-1].sequence)
        heard = {event.task_id for event in page}
        left = [pk for pk in left if pk not in heard]


def _rest(stream: models.QuerySet[Any], after: int) -> Iterator[TaskEvent]:
    while page := list(stream.filter(sequence__gt=after)[:EVENTS]):
        yield from page
        after = page[-1].sequence


def _tables(
    root: type[SimpleTask], using: str
) -> tuple[models.QuerySet[Any, Any], models.QuerySet[Any, Any]]:
    """All rows and all events, past managers that may hide some."""
    event_model: Any = event_model_of(root)
    return models.QuerySet(root, using=using), models.QuerySet(event_model, using=using)


def _keyset(keys: models.QuerySet[Any], column: str) -> Iterator[list[Any]]:
    """Batches of ``keys``, which are in order; the last costs as much as the first."""
    pks = list(keys[:ROWS])
    while pks:
        yield pks
        pks = list(keys.filter(**{f"{column}__gt": pks[-1]})[:ROWS]) if len(pks) == ROWS else []

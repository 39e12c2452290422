"""Read the rows and streams of a task table in batches, so that memory does not grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, ExpressionWrapper, F, OuterRef

from ..ledger.columns import mixin_columns
from ..ledger.event import TaskEvent, events_of
from ..ledger.projection import Projection
from ..ledger.task_row import all_rows
from ..models.task import SimpleTask
from ..states import EventKind, Status

#: How many rows, with their results, and how many events are in memory at a time.
ROW_BATCH_SIZE, EVENT_BATCH_SIZE = 100, 1000

#: The columns of a row, by name.
Row = dict[str, Any]


def keys(
    root: type[SimpleTask],
    using: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[list[Any]]:
    """Yield the keys of all tasks, also of deleted ones, in batches.

    With ``since`` or ``until``: of the tasks that have an event in that time.
    """
    if since is None and until is None:
        return _all_keys(root, using)
    return _keys_changed_between(root, using, since, until)


def _all_keys(root: type[SimpleTask], using: str) -> Iterator[list[Any]]:
    """Yield the keys of all rows, then those of all streams without a row."""
    table = all_rows(root, using)
    yield from _key_batches(table.order_by("pk").values_list("pk", flat=True), "pk")
    existing = table.filter(pk=OuterRef("task_id"))
    rowless = events_of(root, using).filter(~Exists(existing)).order_by("task_id")
    yield from _key_batches(rowless.values_list("task_id", flat=True).distinct(), "task_id")


def _keys_changed_between(
    root: type[SimpleTask], using: str, since: datetime | None, until: datetime | None
) -> Iterator[list[Any]]:
    bounds = {"event_time__gte": since, "event_time__lt": until}
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    # Naming all kinds lets the database use the index of kind and time.
    events = events_of(root, using).filter(kind__in=list(EventKind), **bounds)
    pks = events.order_by("task_id").values_list("task_id", flat=True).distinct()
    yield from _key_batches(pks, "task_id")


def keys_in_status(root: type[SimpleTask], using: str, status: Status) -> Iterator[list[Any]]:
    """Yield the keys of the tasks in ``status``, in batches."""
    table = all_rows(root, using).filter(status=status).order_by("pk")
    yield from _key_batches(table.values_list("pk", flat=True), "pk")


def rows(root: type[SimpleTask], using: str, pks: Sequence[object]) -> Iterator[Row]:
    """Yield the managed columns of these rows; result and error as they are stored.

    These are ``result_text`` and ``error_text``.
    """
    texts = {
        f"{name}_text": ExpressionWrapper(F(f"{name}_data"), output_field=models.TextField())
        for name in ("result", "error")
    }
    names = ("pk", *Projection._fields, "worker", "parent", "check_at", *mixin_columns(root))
    table = all_rows(root, using)
    yield from table.filter(pk__in=pks).annotate(**texts).values(*names, *texts)


def streams(root: type[SimpleTask], using: str, pks: Sequence[object]) -> Iterator[TaskEvent]:
    """Yield the streams of these tasks, one after the other, read in pages."""
    stream, remaining = events_of(root, using), list(pks)
    while remaining:
        page = list(stream.filter(task__in=remaining)[:EVENT_BATCH_SIZE])
        yield from page
        if len(page) < EVENT_BATCH_SIZE:
            return
        yield from _remaining_events(stream.filter(task=page[-1].task_id), page[-1].sequence)
        read_pks = {event.task_id for event in page}
        remaining = [pk for pk in remaining if pk not in read_pks]


def _remaining_events(stream: models.QuerySet[Any], after: int) -> Iterator[TaskEvent]:
    while page := list(stream.filter(sequence__gt=after)[:EVENT_BATCH_SIZE]):
        yield from page
        after = page[-1].sequence


def _key_batches(queryset: models.QuerySet[Any], column: str) -> Iterator[list[Any]]:
    """Split ``queryset``, ordered by ``column``, into batches, none of which costs more."""
    pks = list(queryset[:ROW_BATCH_SIZE])
    while pks:
        yield pks
        if len(pks) < ROW_BATCH_SIZE:
            return
        pks = list(queryset.filter(**{f"{column}__gt": pks[-1]})[:ROW_BATCH_SIZE])

"""Erase results and errors from rows and events; every digest chain still holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models, transaction

from ..db.conflicts import repeat_on_conflict
from ..exceptions import IllegalTransition
from ..ledger import tombstone as tombstones
from ..ledger.digests import ERASABLE_KEYS, erase_payload, is_erased
from ..ledger.event import TaskEvent, event_model_of, events_of
from ..ledger.task_row import all_rows, table_model, write_database
from ..ledger.tombstone import PruneTarget
from ..states import FINAL, EventKind, status_name
from . import writer
from .legal_holds import pks_on_hold
from .transition import Transition

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_PAGE_SIZE = 200


def erase(tasks: Sequence[TaskRow], reason: str, policy: str = "") -> int:
    """Erase the payloads of finished tasks of one table, in one transaction; the number of tasks.

    Result and error are removed from the row, and their parts from the events: a mark with the
    digest stays, so that the chain holds. An ``erase`` event records actor and reason, a tombstone
    what is gone. Tasks that are on hold, or have nothing to erase, are left alone. Raises
    IllegalTransition, and erases nothing, if one of them is not finished.
    """
    using = write_database(tasks[0])
    return repeat_on_conflict(using, lambda: _erase_in_transaction(tasks, using, reason, policy))


def _erase_in_transaction(tasks: Sequence[TaskRow], using: str, reason: str, policy: str) -> int:
    root, pks = table_model(type(tasks[0])), [task.pk for task in tasks]
    with transaction.atomic(using=using):
        writer.lock(root, using, pks)
        rows = {row["pk"]: row for row in _rows(root, using, pks)}
        _reject_unfinished(root, rows.values())
        held_pks = pks_on_hold(root, using, pks)
        pks_with_payload = _pks_with_payload(root, using, pks)
        erasable = [
            task
            for task in tasks
            if task.pk in rows
            and task.pk not in held_pks
            and (rows[task.pk]["has_payload"] or task.pk in pks_with_payload)
        ]
        if erasable:
            _erase(root, using, erasable, reason, policy)
    return len(erasable)


def _erase(
    root: type[TaskRow], using: str, tasks: Sequence[TaskRow], reason: str, policy: str
) -> None:
    digests = {task.pk: digest for task, digest in _digests(root, using, tasks)}
    with tombstones.open_tombstone(
        using, root._meta.label, PruneTarget.PAYLOAD, reason, policy
    ) as tombstone_row:
        writer.apply_all(
            [Transition(task, EventKind.ERASE, reason=reason) for task in tasks], using=using
        )
        streams = all_rows(event_model_of(root), using)
        count = 0
        for events in _pages(root, using, list(digests)):
            for event in events:
                event.data = erase_payload(event.data)
            streams.bulk_update(events, ["data"])
            count += len(events)
        tombstone_row.summarize(digests, events=count)


def _digests(
    root: type[TaskRow], using: str, tasks: Sequence[TaskRow]
) -> Iterator[tuple[TaskRow, str]]:
    rows = all_rows(root, using)
    digests = dict(rows.filter(pk__in=[t.pk for t in tasks]).values_list("pk", "digest"))
    return ((task, digests[task.pk]) for task in tasks)


def _rows(root: type[TaskRow], using: str, pks: Sequence[object]) -> Iterator[dict[str, object]]:
    empty = models.Q(result_data=None, error_data=None)
    rows = (
        all_rows(root, using)
        .filter(pk__in=pks)
        .annotate(has_payload=models.Case(models.When(empty, then=False), default=True))
    )
    yield from rows.values("pk", "status", "has_payload")


def _reject_unfinished(root: type[TaskRow], rows: Any) -> None:
    for row in rows:
        if row["status"] not in FINAL:
            raise IllegalTransition(
                f"{root._meta.label} {row['pk']} is {status_name(row['status'])}, and cannot be "
                "erased: wait for its end, or cancel() it.",
                pk=row["pk"],
                kind=EventKind.ERASE,
            )


def _pks_with_payload(root: type[TaskRow], using: str, pks: Sequence[object]) -> set[object]:
    """Those of ``pks`` whose events have something to erase."""
    return {event.task_id for events in _pages(root, using, pks) for event in events}


def _pages(root: type[TaskRow], using: str, pks: Sequence[object]) -> Iterator[list[TaskEvent]]:
    """The events that have something to erase, some at a time."""
    stream = events_of(root, using).filter(task__in=pks, data__isnull=False)
    page = list(stream.order_by("pk")[:_PAGE_SIZE])
    while page:
        yield [event for event in page if _has_payload(event.data)]
        page = list(stream.filter(pk__gt=page[-1].pk).order_by("pk")[:_PAGE_SIZE])


def _has_payload(data: object) -> bool:
    return isinstance(data, dict) and any(
        not is_erased(data[k]) for k in ERASABLE_KEYS if k in data
    )

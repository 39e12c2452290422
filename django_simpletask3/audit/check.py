"""Whether every row says what its events say, and every stream is as it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db import transaction

from ..ledger.event import TaskEvent
from ..ledger.stream_check import DiscrepancyKind, StreamChecker
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..states import EventKind, Status
from ..transitions import writer
from . import readers

REASON = "audit"

ADVICE = {
    DiscrepancyKind.GAP: (
        "Compare with a backup or an exported bundle: events were removed or renumbered."
    ),
    DiscrepancyKind.DIGEST: "Compare with a backup or an exported bundle: the event was changed.",
    DiscrepancyKind.ARROW: (
        "Compare with a backup or an exported bundle: this cannot have happened."
    ),
    DiscrepancyKind.TWICE: (
        "Compare with a backup or an exported bundle: this cannot have happened."
    ),
    DiscrepancyKind.ERASED: (
        "Compare with a backup: a payload was erased past erase() and the pruner."
    ),
    DiscrepancyKind.TAIL: (
        "Compare with a backup or an exported bundle: the last events were removed."
    ),
    DiscrepancyKind.ROW: "The events are intact: --repair makes the row say what they say.",
    DiscrepancyKind.RESULT: (
        "Compare with a backup, or reset() the task: the row was changed past it."
    ),
    DiscrepancyKind.STREAM: "If the row came past save() (fixture, SQL): --repair records it as "
    "adopted. Else its whole stream was removed: compare with a backup.",
    DiscrepancyKind.ORPHAN: "The row was deleted past delete(): restore it from a backup, or let "
    "--repair record that it is gone.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one task, and what to do; ``repaired`` if that was done."""

    model: str
    database: str
    task: str
    sequence: int
    problem: DiscrepancyKind
    what: str
    repaired: bool = False

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.problem]


def audit(
    root: type[SimpleTask],
    using: str,
    *,
    since: datetime | None = None,
    repair: bool = False,
    on_tasks: Callable[[int], None] = lambda tasks: None,
) -> Iterator[Finding]:
    """Examine all tasks of ``root`` in ``using``, or those with an event from ``since`` on.

    In batches, while everything goes on: what looks wrong is looked at again under the row's lock.
    Memory does not grow with the tables. ``on_tasks`` is told how many tasks each batch had.

    With ``repair``, a row that disagrees with an intact stream is made to say what the stream says,
    a row without events is adopted, and a row that is gone is recorded as deleted, each by an event
    with the reason ``audit``. Nothing else is touched.
    """
    batches = (
        readers.keys(root, using)
        if since is None
        else readers.keys_changed_between(root, using, since)
    )
    for pks in batches:
        for pk in _suspects(root, using, pks):
            yield from _confirm(root, using, pk, repair)
        on_tasks(len(pks))


def tasks_to_examine(root: type[SimpleTask], using: str) -> int:
    """How many rows there are: nearly the number of tasks that ``audited`` will tell."""
    return rows_of(root, using).count()


def _suspects(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> list[Any]:
    rows = {row["pk"]: row for row in readers.rows(root, using, pks)}
    suspects, without_events = [], set(pks)
    for pk, events in groupby(readers.streams(root, using, pks), attrgetter("task_id")):
        without_events.discard(pk)
        if _check_stream(events, rows.get(pk)).discrepancies:
            suspects.append(pk)
    return [*suspects, *without_events]


def _confirm(root: type[SimpleTask], using: str, pk: Any, repair: bool) -> Iterator[Finding]:
    """What is still wrong with a task while nobody can move it."""
    with transaction.atomic(using=using):
        writer.lock(root, using, [pk])
        row = next(iter(readers.rows(root, using, [pk])), None)
        checker = _check_stream(readers.streams(root, using, [pk]), row)
        if row is None and checker.projection.sequence == 0:
            return  # pruned meanwhile
        is_repaired = (
            repair and bool(checker.discrepancies) and _repair(root, using, pk, row, checker)
        )
    for discrepancy in checker.discrepancies:
        yield Finding(
            root._meta.label,
            using,
            str(pk),
            discrepancy.sequence,
            discrepancy.problem,
            discrepancy.detail,
            is_repaired,
        )


def _repair(
    root: type[SimpleTask], using: str, pk: Any, row: dict[str, Any] | None, checker: StreamChecker
) -> bool:
    data = {"found": [one.detail for one in checker.discrepancies]}
    task: Any = root()
    task.pk = pk
    task._state.adding, task._state.db = False, using
    problems = {one.problem for one in checker.discrepancies}
    if row is not None and problems == {DiscrepancyKind.STREAM} and _has_no_events(row):
        writer.apply(task, EventKind.NOTE, using=using, reason=REASON, data=data)
    elif row is not None and checker.is_intact and checker.projection.status is not None:
        writer.repair_row(task, checker.projection, using=using, reason=REASON, data=data)
    elif row is None and problems == {DiscrepancyKind.ORPHAN}:
        writer.record_external_deletion(
            task, checker.projection, using=using, reason=REASON, data=data
        )
    else:
        return False
    return True


def _has_no_events(row: dict[str, Any]) -> bool:
    return bool(row["sequence"] == 0 and row["status"] == Status.PENDING)


def _check_stream(events: Iterable[TaskEvent], row: dict[str, Any] | None) -> StreamChecker:
    checker = StreamChecker()
    for event in events:
        checker.feed(event)
    checker.compare(row)
    return checker

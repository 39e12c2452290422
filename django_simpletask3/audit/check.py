"""Audit task tables: each row must match its events, and each stream must be unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db import IntegrityError, transaction

from ..dependencies.tables import has_prerequisite_models
from ..ledger.event import TaskEvent
from ..ledger.stream_check import DiscrepancyKind, StreamChecker
from ..limits.declared import has_limit
from ..logs import get_logger
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..states import EventKind, Status
from ..transitions import writer
from ..transitions.transition import has_no_events
from ..transitions.unique_keys.holders import find
from . import readers, waits
from .limits import limit_discrepancies

_logger = get_logger(__name__)

REASON = "audit"

ADVICE = {
    DiscrepancyKind.GAP: ("Compare with a backup or an export: events were removed or renumbered."),
    DiscrepancyKind.DIGEST: "Compare with a backup or an export: the event was changed.",
    DiscrepancyKind.ARROW: (
        "Compare with a backup or an export: no correct program writes such events."
    ),
    DiscrepancyKind.TWICE: (
        "Compare with a backup or an export: no correct program writes such events."
    ),
    DiscrepancyKind.ERASED: (
        "Compare with a backup: a payload was erased, but not by erase() or by pruning."
    ),
    DiscrepancyKind.TAIL: ("Compare with a backup or an export: the last events were removed."),
    DiscrepancyKind.ROW: "The events are intact: --repair sets the row to what they say.",
    DiscrepancyKind.RESULT: (
        "Compare with a backup, or reset() the task: the row was changed without an event."
    ),
    DiscrepancyKind.STREAM: "If the row was written without save() (fixture, SQL), --repair "
    "adopts it. Otherwise its whole stream was removed: compare with a backup.",
    DiscrepancyKind.ORPHAN: "The row was deleted without delete(): restore it from a backup, or "
    "record its deletion with --repair.",
    DiscrepancyKind.LINE: "--repair unblocks it: then a worker starts it, or it waits again.",
    DiscrepancyKind.PLACE: "Its limit may be exceeded until the task has ended: a row of "
    "LimitPlace was deleted.",
    DiscrepancyKind.WAIT: "--repair unblocks a task that waits in vain, and counts the end.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One discrepancy of one task; ``repaired`` if the audit has repaired it."""

    model: str
    database: str
    task: str
    sequence: int
    problem: DiscrepancyKind
    detail: str
    repaired: bool = False

    @property
    def advice(self) -> str:
        """How to resolve the discrepancy."""
        return ADVICE[self.problem]


def audit(
    root: type[SimpleTask],
    using: str,
    *,
    since: datetime | None = None,
    repair: bool = False,
    on_tasks: Callable[[int], None] = lambda tasks: None,
    on_events: Callable[[int], None] = lambda events: None,
) -> Iterator[Finding]:
    """Check all tasks of ``root`` in ``using``, or those with an event from ``since`` on.

    Works in batches while workers run: a task with a discrepancy is checked again under a row lock.
    Memory does not grow with the tables. ``on_tasks`` is called with the size of each batch,
    ``on_events`` with the number of its events.

    With ``repair``, a row that differs from an intact stream is set to what the stream says, a row
    without events is adopted, and a missing row is recorded as deleted, each by an event with the
    reason ``audit``. A task that waits for a limit which does not know it is unblocked (reason
    ``orphaned``). Nothing else is changed, and no task with events that only a newer version
    knows: such tasks are checked in part, and counted in the log.
    """
    unknown_count = 0
    for pks in readers.keys(root, using, since):
        suspects, with_unknown_events, events = _check_batch(root, using, pks)
        for pk in suspects:
            yield from _confirm(root, using, pk, repair)
        if has_prerequisite_models():
            yield from _check_waits(root, using, pks, repair)
        unknown_count += with_unknown_events
        on_tasks(len(pks))
        on_events(events)
    if has_limit(root):
        yield from _check_limits(root, using, repair)
    if unknown_count:
        _logger.warning(
            "audit_incomplete model=%s database=%s tasks=%s", root._meta.label, using, unknown_count
        )


def _check_limits(root: type[SimpleTask], using: str, repair: bool) -> Iterator[Finding]:
    for pk, found, is_repaired in limit_discrepancies(root, using, repair=repair):
        task = (root._meta.label, using, str(pk))
        yield Finding(*task, found.sequence, found.problem, found.detail, is_repaired)


def _check_waits(
    root: type[SimpleTask], using: str, pks: Sequence[object], repair: bool
) -> Iterator[Finding]:
    for pk, detail in waits.find_problems(root, using, pks, repair=repair):
        yield Finding(root._meta.label, using, str(pk), 0, DiscrepancyKind.WAIT, detail, repair)


def _check_batch(
    root: type[SimpleTask], using: str, pks: Sequence[object]
) -> tuple[list[object], int, int]:
    """The keys of tasks with discrepancies, and two numbers.

    How many tasks have events of a newer version, and how many events were read.
    """
    rows = {row["pk"]: row for row in readers.rows(root, using, pks)}
    suspects, without_events, unknown_count, event_count = [], set(pks), 0, 0
    for pk, events in groupby(readers.streams(root, using, pks), attrgetter("task_id")):
        without_events.discard(pk)
        checker = _check_stream(events, rows.get(pk))
        unknown_count += checker.has_unknown_events
        event_count += checker.events
        if checker.discrepancies:
            suspects.append(pk)
    return [*suspects, *without_events], unknown_count, event_count


def _confirm(root: type[SimpleTask], using: str, pk: object, repair: bool) -> list[Finding]:
    """Check a task again while its row is locked, and repair it if asked to."""
    try:
        return _confirm_once(root, using, pk, repair)
    except IntegrityError:  # another task has taken its unique key meanwhile
        return _confirm_once(root, using, pk, repair)


def _confirm_once(root: type[SimpleTask], using: str, pk: object, repair: bool) -> list[Finding]:
    with transaction.atomic(using=using):
        writer.lock(root, using, [pk])
        row = next(iter(readers.rows(root, using, [pk])), None)
        checker = _check_stream(readers.streams(root, using, [pk]), row)
        if row is None and checker.projection.sequence == 0:
            return []  # pruned meanwhile
        must_repair = repair and bool(checker.discrepancies)
        is_repaired = must_repair and _repair(root, using, pk, row, checker)
    task = (root._meta.label, using, str(pk))
    return [
        Finding(*task, found.sequence, found.problem, found.detail, is_repaired)
        for found in checker.discrepancies
    ]


def _repair(
    root: type[SimpleTask], using: str, pk: object, row: readers.Row | None, checker: StreamChecker
) -> bool:
    data: dict[str, Any] = {"found": [discrepancy.detail for discrepancy in checker.discrepancies]}
    task: Any = root()
    task.pk = pk
    task._state.adding, task._state.db = False, using
    problems = {discrepancy.problem for discrepancy in checker.discrepancies}
    if row is not None and problems == {DiscrepancyKind.STREAM} and has_no_events(row):
        writer.apply(task, EventKind.NOTE, using=using, reason=REASON, data=data)
    elif row is not None and checker.is_intact and checker.projection.status is not None:
        columns = {n: v for n, v in checker.operational_columns.items() if n in row}
        if _is_taken(root, using, pk, columns.get("unique_key")):
            columns["unique_key"], data["key_freed"] = None, True
        writer.repair_row(task, checker.projection, using=using, reason=REASON, data=data)
        if checker.projection.status == Status.BLOCKED:
            columns["check_at"] = columns.get("expires_at")
        rows_of(root, using).filter(pk=pk).update_managed(**columns)
    elif row is None and problems == {DiscrepancyKind.ORPHAN}:
        projection = checker.projection
        writer.record_external_deletion(task, projection, using=using, reason=REASON, data=data)
    else:
        return False
    return True


def _is_taken(root: type[SimpleTask], using: str, pk: object, key: Any) -> bool:
    """Whether another task than ``pk`` has the unique key."""
    return key is not None and any(task.pk != pk for task in find(root, using, [key]).values())


def _check_stream(events: Iterable[TaskEvent], row: readers.Row | None) -> StreamChecker:
    checker = StreamChecker()
    for event in events:
        checker.feed(event)
    checker.compare(row)
    return checker

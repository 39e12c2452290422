"""Compare the tasks that wait for limits, or run under them, with the rows of the limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import transaction

from ..ledger.event import TaskEvent, events_of
from ..ledger.stream_check import Discrepancy, DiscrepancyKind
from ..ledger.task_row import all_rows
from ..limits.participant import is_turned_away
from ..limits.places import Claim, places_of_claims
from ..limits.tables import LimitWaiter
from ..models.task import SimpleTask
from ..states import EventKind, Status
from ..transitions import writer
from . import readers


def limit_discrepancies(
    root: type[SimpleTask], using: str, *, repair: bool
) -> Iterator[tuple[object, Discrepancy, bool]]:
    """The tasks that wait for a limit that does not know them, or run without a place.

    Each with its key, and whether it was repaired: with ``repair`` those that wait are unblocked.
    """
    for pks in readers.keys_in_status(root, using, Status.BLOCKED):
        for pk in _without_waiter(root, using, pks):
            yield from _confirm_waiting(root, using, pk, repair)
    for pks in readers.keys_in_status(root, using, Status.RUNNING):
        for event in _starts_without_place(root, using, pks):
            yield from _confirm_running(root, using, event)


def _without_waiter(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> list[Any]:
    """Those of the BLOCKED tasks that were turned away from a limit and are not in its line."""
    keys = [str(pk) for pk in pks]
    waiters = all_rows(LimitWaiter, using).filter(model=root._meta.label, task_key__in=keys)
    waiting = set(waiters.values_list("task_key", flat=True))
    blocks = events_of(root, using).filter(task__in=pks, kind=EventKind.BLOCK)
    newest = {event.task_id: event for event in blocks.order_by("sequence")}
    return [
        pk for pk in pks if str(pk) not in waiting and pk in newest and is_turned_away(newest[pk])
    ]


def _starts_without_place(
    root: type[SimpleTask], using: str, pks: Sequence[Any]
) -> list[TaskEvent]:
    """The starts of RUNNING tasks that were given a place which is not there."""
    starts = events_of(root, using).filter(task__in=pks, kind=EventKind.START)
    newest = {event.task_id: event for event in starts.order_by("sequence")}
    limited = [event for event in newest.values() if "place" in (event.data or {})]
    claims = {_claim(root, event): event for event in limited}
    for place in places_of_claims(list(claims), using):
        claims.pop(Claim(place.model, place.task_key, place.attempt), None)
    return list(claims.values())


def _confirm_waiting(
    root: type[SimpleTask], using: str, pk: object, repair: bool
) -> Iterator[tuple[object, Discrepancy, bool]]:
    with transaction.atomic(using=using):
        writer.lock(root, using, [pk])
        row = all_rows(root, using).filter(pk=pk, status=Status.BLOCKED).first()
        if row is None or not _without_waiter(root, using, [pk]):
            return
        sequence = row.sequence
        if repair:
            writer.apply(row, EventKind.UNBLOCK, using=using, reason="orphaned")
    detail = "it waits for its limit, which does not know it"
    yield pk, Discrepancy(sequence, DiscrepancyKind.LINE, detail), repair


def _confirm_running(
    root: type[SimpleTask], using: str, start: TaskEvent
) -> Iterator[tuple[object, Discrepancy, bool]]:
    with transaction.atomic(using=using):
        writer.lock(root, using, [start.task_id])
        rows = all_rows(root, using).filter(pk=start.task_id, status=Status.RUNNING)
        if not rows.filter(attempt=start.attempt).exists():
            return
        if places_of_claims([_claim(root, start)], using):
            return
    detail = "it runs without a place of its limit"
    yield start.task_id, Discrepancy(start.sequence, DiscrepancyKind.PLACE, detail), False


def _claim(root: type[SimpleTask], start: TaskEvent) -> Claim:
    return Claim(root._meta.label, str(start.task_id), start.attempt)

"""Outcomes that are recorded already, or come too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..ledger.event import TaskEvent, events_of
from ..states import EVENTS, EventKind, Status
from .transition import Transition


def already_recorded(
    transition: Transition, row: Mapping[str, Any], using: str
) -> TaskEvent | None:
    """The event of this same transition, if its commit succeeded and only the answer was lost.

    A start is recognised by its claim, the end of an attempt by attempt and worker, a checkpoint by
    its name, too.
    """
    if transition.kind is EventKind.CHECKPOINT:
        return _recorded_checkpoint(transition, row, using)
    claim = transition.data.get("claim")
    if transition.kind is EventKind.START:
        may_be_recorded = row["status"] == Status.RUNNING and claim is not None
    else:
        is_fenced = bool(transition.by_holder) and EVENTS[transition.kind].changes_state
        may_be_recorded = is_fenced and bool(transition.mismatches(row))
    if not (may_be_recorded and transition.worker):
        return None
    attempt = transition.expected.get("attempt", row["attempt"])
    event = _worker_events(transition, using).filter(kind=transition.kind, attempt=attempt).last()
    is_same = event is not None and (event.data or {}).get("claim") == claim
    return event if is_same else None


def _recorded_checkpoint(
    transition: Transition, row: Mapping[str, Any], using: str
) -> TaskEvent | None:
    name = transition.data.get("name")
    if name is None or row["sequence"] == (transition.last_known_row or {}).get("sequence"):
        return None  # nothing was recorded since
    events = _worker_events(transition, using).filter(
        kind=EventKind.CHECKPOINT, attempt=transition.expected["attempt"]
    )
    return next((event for event in events if event.data["name"] == name), None)


def rejection_of(transition: Transition, row: Mapping[str, Any], using: str) -> Transition | None:
    """The ``reject`` that records a late outcome; None if there is nothing to record.

    Only transitions of a holder are recorded, each once.
    """
    if not transition.by_holder:
        return None
    starts = events_of(type(transition.task), using).filter(
        task=transition.task.pk, kind=EventKind.START
    )
    holder = starts.filter(attempt=row["attempt"]).last()
    data = {
        "refused": str(transition.kind),
        "attempt": transition.expected["attempt"],
        "worker": transition.worker,
        "current_attempt": row["attempt"],
        "current_worker": holder.worker if holder else "",
    }
    if transition.kind is EventKind.CHECKPOINT and "name" in transition.data:
        data["name"] = transition.data["name"]
    earlier = _worker_events(transition, using).filter(kind=EventKind.REJECT)
    # The context of the caller is in the data of the event, too.
    if any(data.items() <= (event.data or {}).items() for event in earlier):
        return None
    return replace(
        transition, kind=EventKind.REJECT, by_holder=False, data=data, values={}, expected={}
    )


def _worker_events(transition: Transition, using: str) -> Any:
    return events_of(type(transition.task), using).filter(
        task=transition.task.pk, worker=transition.worker
    )

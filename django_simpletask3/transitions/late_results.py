"""The last words of a worker: said already, or too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..ledger.event import TaskEvent, events_of
from ..states import FENCED, EventKind, Status
from .transition import Move


def already_said(move: Move, row: Mapping[str, Any], using: str) -> TaskEvent | None:
    """The event of this very move, if it was committed before and only the answer was lost.

    Told by claim for a start, by attempt and worker for what ends one.
    """
    claim = move.data.get("claim")
    if move.kind is EventKind.START:
        asked = row["status"] == Status.RUNNING and claim is not None
    else:
        asked = move.kind in FENCED and bool(move.missed(row))
    if not (asked and move.worker):
        return None
    attempt = move.expect.get("attempt", row["attempt"])
    event = _said(move, using).filter(kind=move.kind, attempt=attempt).last()
    same = event is not None and (event.data or {}).get("claim") == claim
    return event if same else None


def evidence_against(move: Move, row: Mapping[str, Any], using: str) -> Move | None:
    """The ``reject`` that tells of a last word that came too late; None if nothing is to be told.

    Only last words leave evidence, and each of them once.
    """
    if move.kind not in FENCED:
        return None
    starts = events_of(type(move.task), using).filter(task=move.task.pk, kind=EventKind.START)
    holder = starts.filter(attempt=row["attempt"]).last()
    data = {
        "refused": str(move.kind),
        "attempt": move.expect["attempt"],
        "worker": move.worker,
        "current_attempt": row["attempt"],
        "current_worker": holder.worker if holder else "",
    }
    if any(event.data == data for event in _said(move, using).filter(kind=EventKind.REJECT)):
        return None
    return replace(move, kind=EventKind.REJECT, data=data, values={}, expect={})


def _said(move: Move, using: str) -> Any:
    return events_of(type(move.task), using).filter(task=move.task.pk, worker=move.worker)

"""How often a task was tried again and snoozed since it was enqueued or reset, by its events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count

from ..ledger.event import events_of
from ..ledger.task_row import TaskRow
from ..states import EventKind, kinds_where

#: After one of these the retries and snoozes of a task are counted from zero.
_RESET_KINDS = kinds_where(lambda spec: spec.resets_retries)


@dataclass(frozen=True, slots=True)
class Tries:
    """The retries and snoozes of one task since it was enqueued or reset.

    ``began_at`` is when that was, or the ``run_after`` that was given there; None if unknown.
    """

    retries: int = 0
    snoozes: int = 0
    began_at: datetime | None = None


def read_tries(model: type[TaskRow], using: str, pk: object) -> Tries:
    """The tries of the task of ``model`` with this key. Two queries."""
    stream = events_of(model, using).filter(task=pk)
    begin = stream.filter(kind__in=_RESET_KINDS).only("sequence", "event_time", "data").last()
    later = stream.filter(sequence__gt=begin.sequence if begin else 0)
    counted = later.filter(kind__in=[EventKind.RETRY, EventKind.SNOOZE]).order_by()
    counts = dict(counted.values_list("kind").annotate(Count("sequence")))
    retries, snoozes = counts.get(EventKind.RETRY, 0), counts.get(EventKind.SNOOZE, 0)
    return Tries(retries, snoozes, _time_of_begin(begin))


def _time_of_begin(event: Any) -> datetime | None:
    if event is None:
        return None
    began_at: datetime = event.event_time
    text = event.data.get("run_after") if isinstance(event.data, dict) else None
    try:
        return max(began_at, datetime.fromisoformat(str(text)))
    except (TypeError, ValueError):  # there is none, or the user changed USE_TZ
        return began_at

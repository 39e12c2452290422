"""Infer events for rows that predate their event table; they are marked ``adopted``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import models

from ..db import clock
from ..ledger.digests import chained_digest, summary_of, with_salt
from ..ledger.encoding import decode, encode
from ..ledger.event import content_of
from ..ledger.projection import Projection
from ..states import EVENTS, RECOVERABLE, EventKind, Status, kinds_where

ACTOR = "migrate"
REASON = "older than its events"

#: The kind that brings a row to each status.
_LAST_KINDS = {EVENTS[kind].target: kind for kind in kinds_where(lambda spec: spec.is_inferable)}


def _kinds_up_to(kind: EventKind) -> tuple[EventKind, ...]:
    source = min(EVENTS[kind].sources, key=lambda status: status or 0)
    return (kind,) if source is None else (*_kinds_up_to(_LAST_KINDS[source]), kind)


#: The inferred events of a row in each status.
_KINDS_BY_STATUS = {status: _kinds_up_to(kind) for status, kind in _LAST_KINDS.items()}
#: The largest number of events that are inferred for one row.
MAX_EVENTS = max(map(len, _KINDS_BY_STATUS.values()))
_PROJECTED_COLUMNS = Projection._fields
#: The columns that ``infer_events`` and ``restore_columns`` assign.
UPDATED_COLUMNS = (*_PROJECTED_COLUMNS, "result_data", "error_data", "add_time", "check_at")


def infer_events(row: Any, using: str) -> list[Any]:
    """Return the events that the status of ``row`` implies, and update its columns to match.

    The row is not saved. Raises ValueError for an unknown status.
    """
    kinds = _KINDS_BY_STATUS[Status(row.status)]
    projection, events = Projection(), []
    outcome_data, remaining_values = _outcome_data(kinds[-1], row)
    for kind, event_time in zip(kinds, _event_times(row, kinds, using), strict=True):
        data = {
            "adopted": True,
            **(remaining_values if kind is EventKind.ENQUEUE else {}),
            **(outcome_data if kind is kinds[-1] else {}),
        }
        event = _build_event(projection, kind, event_time, row, data)
        projection = projection.after(event)
        events.append(event)
    for name in _PROJECTED_COLUMNS:
        setattr(row, name, getattr(projection, name))
    row.check_at = clock.now(using) if row.status in RECOVERABLE else None
    return events


def restore_columns(row: Any, events: Sequence[Any], using: str) -> None:
    """Give the columns of ``row`` the values from before ``events`` were inferred."""
    first = decode(events[0].data)
    for name, value in first.get("erased", {}).items():
        setattr(row, name, encode(value))
    row.attempt, row.sequence, row.digest = 0, 0, ""
    row.check_at = clock.now(using)


def historical_event_model(model: type[models.Model]) -> Any:
    """The event model of ``model``, both from the state of a migration."""
    relation: Any = model._meta.get_field("events")
    return relation.related_model


def has_only_inferred_events(row: Any, events: Sequence[Any]) -> bool:
    """Whether all events of ``row`` were inferred."""
    return len(events) == row.sequence and all(
        event.data is not None and (decode(event.data) or {}).get("adopted") for event in events
    )


def _event_times(row: Any, kinds: Sequence[EventKind], using: str) -> Iterator[datetime]:
    """Yield the time of each event, from the columns of ``row`` and never decreasing."""
    column_times = [row.add_time, row.start_time, row.done_time, row.result_time]
    known_times = [event_time for event_time in column_times if event_time is not None]
    row.add_time = min(known_times, default=clock.now(using))
    columns = {EventKind.ENQUEUE: row.add_time, EventKind.START: row.start_time}
    event_time = row.add_time
    for kind in kinds:
        recorded_time = columns.get(kind, row.done_time or row.result_time)
        event_time = max(event_time, recorded_time or event_time)
        yield event_time


def _outcome_data(last_kind: EventKind, row: object) -> tuple[dict[str, object], dict[str, object]]:
    """Return the outcome data of the last event, and the other values of ``row`` to keep."""
    texts = {name: getattr(row, name) for name in ("result_data", "error_data")}
    values = {name: decode(text) for name, text in texts.items() if text is not None}
    outcome_data: dict[str, Any] = {}
    if last_kind is EventKind.ACK and "result_data" in values:
        del values["result_data"]
        outcome_data["result"] = summary_of(texts["result_data"])
    if last_kind is EventKind.FAIL and isinstance(values.get("error_data"), dict):
        error = values.pop("error_data")
        summary = {name: error.get(name) for name in ("type", "message")}
        outcome_data["error"] = {**summary, **summary_of(texts["error_data"])}
    for name in values:
        setattr(row, name, None)
    return outcome_data, {"erased": values} if values else {}


def _build_event(
    before: Projection, kind: EventKind, event_time: datetime, row: Any, data: Any
) -> Any:
    """Build the event ``kind`` that follows ``before``, with its digest."""
    event: Any = historical_event_model(type(row))(
        task_id=row.pk,
        sequence=before.sequence + 1,
        kind=str(kind),
        from_status=before.status,
        attempt=before.attempt + (kind is EventKind.START),
        event_time=event_time,
        worker="",
        actor=ACTOR,
        reason=REASON,
        data=encode(with_salt(data)),
    )
    event.to_status = before.after(event).status
    # The columns of a historical model are the texts that are stored.
    content = {**content_of(event), "data": decode(event.data)}
    event.digest = chained_digest(before.digest, content)
    return event

"""Who had each unique key, by the events of a run: never two tasks, and no task that has ended.

A task takes its key after the statement of the task before has ended, so the keys of the events
are in order where their times need not be.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.chaos.models import Parcel
from django_simpletask3.ledger.event import events_of
from django_simpletask3.states import FINAL, EventKind, kinds_where

_ENDS = kinds_where(lambda spec: spec.changes_state and spec.target in FINAL)
_KINDS = (EventKind.ENQUEUE, EventKind.RESET, EventKind.DELETE, *_ENDS)


def wrong_holders() -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each violation."""
    holders: dict[str, Any] = {}
    keys: dict[Any, str] = {}
    events = events_of(Parcel, "default").filter(kind__in=_KINDS).order_by("pk")
    for event in events.iterator(chunk_size=500):
        data = event.data or {}
        holders.pop(keys.pop(event.task_id, ""), None)
        if (key := data.get("unique")) is None:
            continue
        if (holder := holders.get(key)) is not None:
            yield "two_holders", f"parcels {holder} and {event.task_id} had the key {key}"
        holders[key], keys[event.task_id] = event.task_id, key
    for row in Parcel.objects.exclude(unique_key=None).filter(status__in=FINAL):
        yield "leaked", f"the unique key of parcel {row.pk}, which has ended"

"""Who had each unique key, by the events of a run: never two tasks, and no task that has ended.

A task takes its key after the statement of the task before has ended, so the keys of the events
are in order where their times need not be.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.chaos import tasks
from benchmarks.chaos.models import Parcel
from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.ledger.event import events_of
from django_simpletask3.states import FINAL, EventKind, kinds_where

_ENDS = kinds_where(lambda spec: spec.changes_state and spec.target in FINAL)
_KINDS = (EventKind.ENQUEUE, EventKind.RESET, EventKind.START, EventKind.DELETE, *_ENDS)
_TAKES = (EventKind.ENQUEUE, EventKind.RESET)


def wrong_holders() -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each violation."""
    replaced = FunctionTask._base_manager.filter(task_path=tasks.replace.module_path)
    until_started = set(replaced.values_list("pk", flat=True))
    yield from _wrong_holders(Parcel, set())
    yield from _wrong_holders(FunctionTask, until_started)


def _wrong_holders(model: type[Any], until_started: set[Any]) -> Iterator[tuple[str, str]]:
    name = model._meta.model_name
    holders: dict[str, Any] = {}
    keys: dict[Any, str] = {}
    events = events_of(model, "default").filter(kind__in=_KINDS).order_by("pk")
    for event in events.iterator(chunk_size=500):
        if event.kind == EventKind.START and event.task_id not in until_started:
            continue
        data = event.data or {}
        holders.pop(keys.pop(event.task_id, ""), None)
        if event.kind not in _TAKES or (key := data.get("unique")) is None:
            continue
        if (holder := holders.get(key)) is not None:
            yield "two_holders", f"{name} {holder} and {event.task_id} had the key {key}"
        holders[key], keys[event.task_id] = event.task_id, key
    for row in model._base_manager.exclude(unique_key=None).filter(status__in=FINAL):
        yield "leaked", f"the unique key of {name} {row.pk}, which has ended"

"""The checkpoints in the stream of a task, and keys that last as long as they do."""

from __future__ import annotations

import json
import uuid
from datetime import UTC
from typing import Any, NamedTuple

from django.utils import timezone

from ..ledger.event import events_of
from ..ledger.task_row import TaskRow, table_model
from ..states import EventKind

_MAX_NAME_LENGTH = 200
_KINDS = (EventKind.ENQUEUE, EventKind.RESET, EventKind.START, EventKind.CHECKPOINT)
_NAMESPACE = uuid.UUID("9d8a4f0e-3c5b-4a57-8f0c-6f1f5d7c2b61")


class RecordedCheckpoints(NamedTuple):
    """The values of the checkpoints, by name, since the task began, or began again.

    ``beginning`` is the sequence number of the event that made it begin again, else 0.
    """

    values: dict[str, Any]
    beginning: int = 0


def read_checkpoints(task: TaskRow, using: str) -> RecordedCheckpoints:
    """Read the checkpoints of ``task`` that count. One query."""
    values: dict[str, Any] = {}
    beginning, has_started = 0, False
    stream = events_of(type(task), using).filter(task=task.pk, kind__in=_KINDS)
    for sequence, kind, data in stream.values_list("sequence", "kind", "data"):
        if kind == EventKind.START:
            has_started = True
        elif kind == EventKind.CHECKPOINT:
            values[data["name"]] = data["value"]
        elif kind == EventKind.ENQUEUE or _is_restart(data):
            values = {}
            # A first attempt knows without a query that nothing was before it.
            beginning = sequence if has_started else 0
    return RecordedCheckpoints(values, beginning)


def idempotency_key(task: TaskRow, name: str, beginning: int) -> str:
    """A UUID, as text, for the step ``name`` of ``task``; another one for another ``beginning``."""
    check_name(name)
    # A row that takes the key of a deleted one is another task.
    add_time = task.add_time
    if timezone.is_aware(add_time):
        add_time = add_time.astimezone(UTC)
    label = table_model(type(task))._meta.label
    parts = [label, str(task.pk), add_time.isoformat(), beginning, name]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))


def check_name(name: object) -> None:
    """Raise TypeError or ValueError unless ``name`` can name a step."""
    if not isinstance(name, str):
        raise TypeError(f"The name of a step is of type {type(name).__name__}; expected a text.")
    if not 0 < len(name) <= _MAX_NAME_LENGTH:
        expected = f"expected 1 to {_MAX_NAME_LENGTH}"
        raise ValueError(f"The name of a step has {len(name)} characters; {expected}.")


def _is_restart(data: object) -> bool:
    return isinstance(data, dict) and data.get("restart") is True

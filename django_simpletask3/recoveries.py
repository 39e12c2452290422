"""The auditor's view of what went wrong: claims that were lost, given up, given back or refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from django.db import models

from .catalog import databases_of, roots
from .events import TaskEvent, event_model_of
from .models import SimpleTask
from .states import EventKind

#: What is listed, unless some of these are asked for.
KINDS = (EventKind.RECOVER, EventKind.DROP, EventKind.RELEASE, EventKind.REJECT)

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recover, drop, release or reject; ``worker`` is who lost it, or came too late."""

    time: datetime
    model: str
    database: str
    task: str
    sequence: int
    kind: str
    reason: str
    worker: str
    attempt: int
    actor: str


def recoveries(
    chosen: Collection[type[SimpleTask]] | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Collection[EventKind] = KINDS,
    reason: str = "",
    worker: str = "",
) -> Iterator[Recovery]:
    """What was recovered from ``since`` until before ``until``: by table and kind, oldest first.

    ``reason`` must be the event's; ``worker`` a part of the worker's name. Read in pages by the
    index of kind and time: memory does not grow with their number.
    """
    bounds = {"event_time__gte": since, "event_time__lt": until, "reason": reason or None}
    asked = {name: bound for name, bound in bounds.items() if bound is not None}
    for root in roots(chosen):
        for using in databases_of(root):
            for event in chain.from_iterable(_told(root, using, kind, asked) for kind in kinds):
                found = _recovery(root, using, event)
                if worker in found.worker:
                    yield found


def _told(
    root: type[SimpleTask], using: str, kind: EventKind, asked: dict[str, Any]
) -> Iterator[TaskEvent]:
    event_model: Any = event_model_of(root)
    events: Any = models.QuerySet(event_model, using=using).filter(kind=kind, **asked)
    events = events.order_by("event_time", "pk")
    page = list(events[:_PAGE])
    while page:
        yield from page
        last = page[-1]
        rest = models.Q(event_time__gt=last.event_time) | models.Q(pk__gt=last.pk)
        page = list(events.filter(rest, event_time__gte=last.event_time)[:_PAGE])


def _recovery(root: type[SimpleTask], using: str, event: TaskEvent) -> Recovery:
    data = event.data if isinstance(event.data, dict) else {}
    return Recovery(
        time=event.event_time,
        model=root._meta.label,
        database=using,
        task=str(event.task_id),
        sequence=event.sequence,
        kind=str(event.kind),
        reason=event.reason,
        worker=str(data.get("lost_worker") or data.get("worker") or event.worker),
        attempt=int(data["attempt"]) if "refused" in data else event.attempt,
        actor=event.actor,
    )

"""What checkpoints, progress and expiry leave in the stream of a task, compared with their effects.

Each function yields the kind and the text of every violation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

from benchmarks.chaos.models import STEPS
from django_simpletask3.states import EventKind, Status

#: From the moment at which the database decides on a start until that of the event.
_EXPIRY_TOLERANCE = timedelta(seconds=1)
_LAST_PROGRESS = {"done": len(STEPS), "total": len(STEPS)}

Violations = Iterator[tuple[str, str]]


def repeated_steps(
    stream: Iterable[Any], effects: Counter[str], taken: Iterable[tuple[int, str]]
) -> Violations:
    """Steps whose effects in the database are not one, or that were taken again after their record.

    ``taken`` are the attempts and names of the steps without a transaction that have run.
    """
    recorded, restarts = _checkpoints(stream)
    for name, records in recorded.items():
        if len({restart for restart, _ in records}) != len(records):
            yield "recorded_twice", f"the checkpoint {name!r}: {records}"
    for name in (f"{step} row" for step in STEPS):
        if effects[name] != len(recorded[name]):
            yield "effects", f"{name}: {effects[name]} effects, {recorded[name]} recorded"
    for attempt, name in taken:
        for restart, recorded_by in recorded[name]:
            if restart == restarts.get(attempt) and recorded_by < attempt:
                yield "effects", f"{name} was taken again by attempt {attempt}"


def _checkpoints(
    stream: Iterable[Any],
) -> tuple[dict[str, list[tuple[int, int]]], dict[int, int]]:
    """Return the restarts and the attempt of each checkpoint, and the restarts of each attempt."""
    recorded: dict[str, list[tuple[int, int]]] = defaultdict(list)
    restarts: dict[int, int] = {}
    count = 0
    for event in stream:
        count += event.kind == EventKind.RESET and bool((event.data or {}).get("restart"))
        if event.kind == EventKind.START:
            restarts[event.attempt] = count
        elif event.kind == EventKind.CHECKPOINT:
            recorded[event.data["name"]].append((count, event.attempt))
    return recorded, restarts


def is_progress(event: Any) -> bool:
    """Return whether the event is a note of progress."""
    return event.kind == EventKind.NOTE and "progress" in (event.data or {})


def wrong_progress(stream: Iterable[Any], *, has_steps: bool) -> Violations:
    """Progress of an attempt that did not run, and results without the last progress."""
    running = None
    for event in stream:
        if is_progress(event) and event.attempt != running:
            yield "recorded_twice", f"progress at {event.sequence}, not of the running attempt"
        if event.kind == EventKind.ACK and has_steps:
            found = (event.data or {}).get("progress")
            if found != _LAST_PROGRESS:
                yield "lost", f"the last progress: {found}"
        running = event.attempt if event.to_status == Status.RUNNING else None


def late_starts(stream: Iterable[Any]) -> Violations:
    """Starts of a task after it expired."""
    expires_at = None
    for event in stream:
        if event.kind in (EventKind.ENQUEUE, EventKind.RESET):
            text = (event.data or {}).get("expires_at")
            expires_at = None if text is None else parse_datetime(text)
        elif event.kind == EventKind.START and _is_late(event, expires_at):
            yield "unexplained", f"it expired before the start {event.sequence}"


def _is_late(start: Any, expires_at: datetime | None) -> bool:
    return expires_at is not None and start.event_time > expires_at + _EXPIRY_TOLERANCE

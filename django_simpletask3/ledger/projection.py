"""The projection: the columns that a row must have after its events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from ..exceptions import IllegalTransition
from ..states import (
    ANY,
    ANYWHERE,
    AUDIT_ONLY,
    EVENTS,
    FINAL,
    UNFINISHED,
    EventKind,
    Status,
    kinds_where,
    status_of,
    target,
)
from .event import TaskEvent

#: The columns of a task that only the state machine writes.
PROJECTED = (
    "status",
    "attempt",
    "sequence",
    "digest",
    "start_time",
    "done_time",
    "success",
    "result_data",
    "error_data",
    "result_time",
)

_SUCCESS = {Status.SUCCESS: True, Status.FAILED: False}
_OUTCOMES = frozenset(kinds_where(lambda spec: spec.sets_result_time))


class Projection(NamedTuple):
    """The columns that a stream yields, without result and error, which only the row holds."""

    status: Status | None = None
    attempt: int = 0
    sequence: int = 0
    digest: str = ""
    start_time: datetime | None = None
    done_time: datetime | None = None
    success: bool | None = None
    result_time: datetime | None = None

    @classmethod
    def of(cls, row: Any) -> Projection:
        """The projection that ``row`` (a task, or a dict of its columns) holds."""
        return cls._make((_of_dict if isinstance(row, dict) else _of_task)(row))

    def after(self, event: TaskEvent) -> Projection:
        """The projection once ``event`` has happened. Raises IllegalTransition if it cannot.

        If only a newer version knows what happened, it is what the event says.
        """
        if event.kind in AUDIT_ONLY:
            return self._replace(sequence=event.sequence, digest=event.digest)
        try:
            status = target(self.status, event.kind)
        except IllegalTransition:
            if not self.is_unknown(event):
                raise
            status = status_of(event.to_status)
            if status == self.status:
                return self._replace(sequence=event.sequence, digest=event.digest)
        # By position: every transition does this, and _replace() takes three times as long.
        outcome = (self.start_time, self.done_time, self.success, self.result_time)
        if status is Status.RUNNING:
            outcome = (event.event_time, *outcome[1:])
        elif status in UNFINISHED:
            outcome = (None, None, None, None)
        elif status in FINAL:
            result_time = event.event_time if event.kind in _OUTCOMES else None
            outcome = (self.start_time, event.event_time, _SUCCESS.get(status), result_time)
        return Projection(status, event.attempt, event.sequence, event.digest, *outcome)

    def is_unknown(self, event: TaskEvent) -> bool:
        """Whether only a newer version knows the kind of ``event``, or the status before it."""
        return event.kind not in EVENTS or not (self.status is None or self.status in ANY)

    def status_after(self, kind: EventKind) -> Status | None:
        """The status after an event of ``kind``; raises as ``after``."""
        return self.status if kind in ANYWHERE else target(self.status, kind)

    def differences(self, other: Projection) -> dict[str, tuple[object, object]]:
        """The columns in which ``other`` differs: {name: (own value, other value)}."""
        columns = zip(self._fields, self, other, strict=True)
        return {name: (mine, others) for name, mine, others in columns if mine != others}


_of_dict = itemgetter(*Projection._fields)
_of_task = attrgetter(*Projection._fields)


def fold(events: Iterable[TaskEvent]) -> Projection:
    """The projection after ``events``, which are one whole stream in order."""
    projection = Projection()
    for event in events:
        projection = projection.after(event)
    return projection


def broken_links(events: Iterable[TaskEvent]) -> list[int]:
    """The sequence numbers at which a stream's chain of digests, or its numbering, breaks."""
    broken, previous, expected = [], "", 1
    for event in events:
        if event.sequence != expected or event.digest != event.expected_digest(previous):
            broken.append(event.sequence)
        previous, expected = event.digest, event.sequence + 1
    return broken

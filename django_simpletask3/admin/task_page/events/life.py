"""What the newest events of a task say about its attempts since it was enqueued or reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ....ledger.event import TaskEvent
from ....states import EVENTS, EventKind, Status
from ...html.pills import State
from ...task_details import data_prefix
from .attempts import Attempt

#: After one of these a task begins anew.
_BEGINS = frozenset(kind for kind, spec in EVENTS.items() if spec.resets_retries)


@dataclass(slots=True)
class Life:
    """The attempts since the task was enqueued, or last reset.

    ``begin`` is the event of that; None if it is not among the events that were read.
    """

    begin: TaskEvent | None = None
    attempts: list[Attempt] = field(default_factory=list)
    retries: int = 0
    #: Runs whose worker was lost.
    losses: int = 0

    @property
    def due_time(self) -> datetime | None:
        """When it might first run."""
        if self.begin is None:
            return None
        text = data_prefix.parse_prefix(self.begin).get("run_after")
        try:
            return max(self.begin.event_time, datetime.fromisoformat(str(text)))
        except (TypeError, ValueError):
            return self.begin.event_time

    @property
    def first_wait(self) -> timedelta | None:
        """How long the first attempt has waited since it was due; None if that is not known."""
        if self.begin is None or self.due_time is None or not self.attempts:
            return None
        early = max(self.due_time - self.begin.event_time, timedelta(0))
        return max(self.attempts[0].waited - early, timedelta(0))

    @property
    def blocked(self) -> timedelta:
        """How long the first attempt was blocked."""
        spans = self.attempts[0].spans if self.attempts else []
        blocked = (span.duration for span in spans if span.state is State.BLOCKED)
        return sum(blocked, timedelta(0))

    @property
    def later_waits(self) -> timedelta:
        """How long the further attempts have waited."""
        return sum((attempt.waited for attempt in self.attempts[1:]), timedelta(0))

    @property
    def run_durations(self) -> list[timedelta]:
        return [a.run.duration for a in self.attempts if a.run is not None]


def read_life(events: Sequence[TaskEvent], attempts: Sequence[Attempt]) -> Life:
    """The attempts since the last of ``events`` with which the task began, or began anew."""
    position = next((i for i in reversed(range(len(events))) if events[i].kind in _BEGINS), None)
    if position is None:
        return Life()
    begin, later = events[position], events[position:]
    kinds = [event.kind for event in later]
    return Life(
        begin,
        [attempt for attempt in attempts if attempt.number > begin.attempt],
        retries=kinds.count(EventKind.RETRY),
        losses=sum(
            event.kind == EventKind.RECOVER and event.from_status == Status.RUNNING
            for event in later
        ),
    )


def last_of(events: Sequence[TaskEvent], *kinds: EventKind) -> TaskEvent | None:
    """The last of ``events`` that is of one of these kinds."""
    return next((event for event in reversed(events) if event.kind in kinds), None)

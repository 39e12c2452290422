"""The attempts of a task, by its events: when each waited and ran, where, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest

from django.utils.translation import gettext_lazy

from ....ledger.event import TaskEvent
from ....ledger.fields import KIND
from ....models.explanation.durations import format_duration
from ....models.task import SimpleTask
from ....states import UNFINISHED, EventKind, Status
from ...html import words
from ...html.pills import STATE_WORDS, State
from ...html.reasons import reason_words
from ...task_details import data_prefix

#: The CSS class, which has the colour, of an attempt that ended by an event of this kind, and how
#: it ended.
OUTCOMES: Mapping[EventKind, tuple[str, object]] = {
    EventKind.ACK: ("succeeded", gettext_lazy("succeeded after %(duration)s")),
    EventKind.FAIL: ("failed", gettext_lazy("failed after %(duration)s")),
    EventKind.RETRY: ("failed", gettext_lazy("failed after %(duration)s")),
    EventKind.SNOOZE: ("scheduled", gettext_lazy("snoozed after %(duration)s")),
    EventKind.RECOVER: ("lost", gettext_lazy("worker lost after %(duration)s")),
    EventKind.DROP: ("failed", gettext_lazy("given up after %(duration)s")),
    EventKind.RELEASE: ("waiting", gettext_lazy("handed back after %(duration)s")),
    EventKind.CANCEL: ("canceled", gettext_lazy("canceled after %(duration)s")),
    EventKind.RESET: ("canceled", gettext_lazy("reset after %(duration)s")),
    EventKind.EXPIRE: ("canceled", gettext_lazy("expired after %(duration)s")),
    EventKind.DELETE: ("canceled", gettext_lazy("deleted after %(duration)s")),
}
#: The CSS class of the mark of each kind that is marked.
MARKED = {
    EventKind.RECOVER: "lost",
    EventKind.DROP: "failed",
    EventKind.RELEASE: "waiting",
    EventKind.REJECT: "refused",
    EventKind.RETRY: "failed",
    EventKind.SNOOZE: "scheduled",
    EventKind.BLOCK: "blocked",
    EventKind.UNBLOCK: "blocked",
    EventKind.CANCEL: "canceled",
    EventKind.EXPIRE: "canceled",
    EventKind.RESET: "waiting",
    EventKind.HOLD: "canceled",
    EventKind.LIFT: "canceled",
    EventKind.ERASE: "canceled",
    EventKind.DELETE: "failed",
}
#: After these, the function of the attempt may go on without the task.
_TAKES_AWAY = frozenset(
    {EventKind.RECOVER, EventKind.DROP, EventKind.RELEASE, EventKind.CANCEL, EventKind.RESET}
)
_WAITS = {Status.PENDING: State.WAITING, Status.BLOCKED: State.BLOCKED}


@dataclass(slots=True)
class Span:
    """A period in one state: waiting, blocked or running."""

    state: State
    begin: datetime
    end: datetime

    @property
    def duration(self) -> timedelta:
        return max(self.end - self.begin, timedelta(0))


@dataclass(slots=True)
class Mark:
    """A marked event at its time."""

    kind: EventKind
    time: datetime
    title: str


@dataclass(slots=True)
class Attempt:
    """One attempt: its waiting, its run, and what became of it."""

    number: int
    worker: str = ""
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    #: The times of the notes of its function.
    notes: list[datetime] = field(default_factory=list)
    ended_by: EventKind | None = None
    #: The state that it is in, if it is not that of its last period.
    open_state: State | None = None
    #: Until when a function whose task had been taken from it went on.
    late_until: datetime | None = None

    @property
    def run(self) -> Span | None:
        """Its last running period."""
        return next((s for s in reversed(self.spans) if s.state is State.RUNNING), None)

    @property
    def waited(self) -> timedelta:
        """How long it waited, and was blocked, before it ran."""
        return sum(
            (span.duration for span in self.spans if span.state is not State.RUNNING), timedelta(0)
        )

    @property
    def css_class(self) -> str:
        """That of its outcome, or of the state that it is in."""
        if self.ended_by is not None:
            return OUTCOMES[self.ended_by][0]
        return self.open_state or self.spans[-1].state.value

    @property
    def outcome(self) -> str:
        """How it ended, or the state that it is in and for how long."""
        span = self.run or self.spans[-1]
        duration = format_duration(span.duration)
        if self.ended_by is not None:
            return str(OUTCOMES[self.ended_by][1]) % {"duration": duration}
        return f"{STATE_WORDS[self.open_state or self.spans[-1].state]}, {duration}"


def read_attempts(
    events: Sequence[TaskEvent], task: SimpleTask, now: datetime | None
) -> list[Attempt]:
    """The attempts in ordered ``events``, the last of ``task`` or an earlier page of them.

    Those that are not finished last until ``now``; it is None for an earlier page.
    """
    reader = _Reader()
    for event, next_event in zip_longest(events, events[1:]):
        reader.read(event, next_event.event_time if next_event else _open_end(event, now))
    if events and now is not None:
        reader.complete(events[0], task)
    return [attempt for _number, attempt in sorted(reader.attempts.items()) if attempt.spans]


class _Reader:
    """Collects the attempts of events that are read in their order."""

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}

    def read(self, event: TaskEvent, until: datetime | None) -> None:
        """Read ``event``; the status after it lasts ``until`` then, if that is known."""
        if event.kind in MARKED:
            self._mark(event)
        if event.kind == EventKind.NOTE and event.worker and event.to_status == Status.RUNNING:
            self._attempt(event.attempt).notes.append(event.event_time)
        is_ended = event.from_status == Status.RUNNING or event.to_status not in UNFINISHED
        if event.kind in OUTCOMES and event.from_status in UNFINISHED and is_ended:
            self._attempt(_attempt_of(event)).ended_by = event.kind
        if until is not None:
            self._add_period(event, max(until, event.event_time))

    def complete(self, first: TaskEvent, task: SimpleTask) -> None:
        """Begin the attempt that runs when it started, though that was before ``first``."""
        attempt = self.attempts.get(task.attempt)
        is_cut = first.sequence > 1 and first.attempt == task.attempt
        if attempt is None or not is_cut or task.start_time is None:
            return
        if first.from_status == Status.RUNNING and attempt.spans:
            span = attempt.spans[0]
            span.begin = min(span.begin, task.start_time)
            attempt.worker = attempt.worker or task.worker

    def _attempt(self, number: int) -> Attempt:
        number = max(1, number)
        return self.attempts.setdefault(number, Attempt(number))

    def _mark(self, event: TaskEvent) -> None:
        attempt = self._attempt(_attempt_of(event))
        attempt.marks.append(Mark(EventKind(event.kind), event.event_time, _title(event)))
        if event.kind == EventKind.REJECT and attempt.ended_by in _TAKES_AWAY:
            attempt.late_until = event.event_time

    def _add_period(self, event: TaskEvent, until: datetime) -> None:
        if event.to_status == Status.RUNNING:
            attempt = self._attempt(event.attempt)
            attempt.worker = attempt.worker or _holder(event)
            _extend(attempt.spans, Span(State.RUNNING, event.event_time, until))
        elif (state := _WAITS.get(event.to_status)) is not None:
            # A task that waits, waits for the next attempt.
            _extend(self._attempt(event.attempt + 1).spans, Span(state, event.event_time, until))


def _extend(spans: list[Span], span: Span) -> None:
    if spans and spans[-1].state is span.state:
        spans[-1].end = span.end
    else:
        spans.append(span)


def _attempt_of(event: TaskEvent) -> int:
    """The attempt that ``event`` is about.

    A result that is refused comes from one that is over. A task that waits, waits for the next.
    """
    if event.kind == EventKind.REJECT:
        attempt = data_prefix.parse_prefix(event).get("attempt")
        return attempt if isinstance(attempt, int) else event.attempt
    is_of_waiting = event.from_status in _WAITS and event.to_status != event.from_status
    return event.attempt + is_of_waiting


def _holder(event: TaskEvent) -> str:
    # A refused event names the worker that was too late.
    is_holder = event.kind in (EventKind.START, EventKind.NOTE, EventKind.CHECKPOINT)
    return event.worker if is_holder else ""


def _open_end(event: TaskEvent, now: datetime | None) -> datetime | None:
    """The end of the last period, None if the task is finished."""
    return now if event.to_status in UNFINISHED else None


def _title(event: TaskEvent) -> str:
    """Kind, reason, actor and worker of a marked event."""
    parts = (
        str(dict(KIND).get(event.kind, event.kind)),
        reason_words(event.reason),
        words.by(event.actor),
        words.worker_label(event.worker),
    )
    return " · ".join(part for part in parts if part)

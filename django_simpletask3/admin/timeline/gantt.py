"""The attempts of a task as spans of time, one lane each, for a template to draw as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest

from django.utils.translation import gettext as _

from ...ledger.event import TaskEvent
from ...ledger.fields import KIND
from ...models.explanation.durations import format_duration
from ...states import FINAL, UNFINISHED, EventKind, Status
from ..html import times
from ..html.values import escape_invisible
from . import data_prefix

WIDTH = 960.0
_LEFT, _RIGHT, _LANE_HEIGHT, _TOP = 84.0, 12.0, 26.0, 6.0
_PLOT_WIDTH = WIDTH - _LEFT - _RIGHT
_MIN_WIDTH = 1.5
#: The number of attempts to draw, the newest.
MAX_LANES = 30

#: The shape of each marked kind, around the origin: colour alone must not carry meaning.
SHAPES = {
    EventKind.RECOVER: "M0-6 6 5-6 5Z",
    EventKind.DROP: "M-5-3-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0Z",
    EventKind.RELEASE: "M0 6 6-5-6-5Z",
    EventKind.REJECT: "M0-6 6 0 0 6-6 0Z",
    EventKind.RETRY: "M6 0-5 6-5-6Z",
    EventKind.SNOOZE: "M-5-6H5L-2 4H5V6H-5L2-4H-5Z",
    EventKind.BLOCK: "M-6-6H6V6H-6ZM-3-3V3H3V-3Z",
    EventKind.UNBLOCK: "M-6-6H-1V6H-6ZM1-4 6 0 1 4Z",
    EventKind.CANCEL: "M-5-5H5V5H-5Z",
    EventKind.EXPIRE: "M-6-6H6L1 0 6 6H-6L-1 0Z",
    EventKind.RESET: "M-6 0 5 6 5-6Z",
    EventKind.HOLD: "M-5-5H-1V5H-5ZM1-5H5V5H1Z",
    EventKind.LIFT: "M0-6 6 0H2V6H-2V0H-6Z",
    EventKind.ERASE: "M-6-2H6V2H-6Z",
    EventKind.DELETE: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
}
_STATES: Mapping[object, str] = {
    Status.PENDING: "waiting",
    Status.BLOCKED: "blocked",
    Status.RUNNING: "running",
}
#: The width of a letter in a span, and the least number of letters to show.
_LETTER_WIDTH, _MIN_LETTERS = 6.5, 6


@dataclass(slots=True)
class Span:
    """A period in one state: waiting, blocked, running or idle; a running one has a worker."""

    state: str
    begin: datetime
    end: datetime
    worker: str = ""
    tooltip: str = ""
    label: str = ""
    x: float = 0.0
    width: float = 0.0


@dataclass(slots=True)
class Mark:
    """A marked event at its time."""

    kind: EventKind
    time: datetime
    tooltip: str
    x: float = 0.0

    @property
    def shape(self) -> str:
        return SHAPES[self.kind]

    @property
    def name(self) -> str:
        return str(dict(KIND)[self.kind])


@dataclass(slots=True)
class Lane:
    """One attempt: waiting, blocked, running, and the idle time after it."""

    attempt: int
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    y: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + 9


@dataclass(slots=True)
class Picture:
    """All lanes, to scale, with the labels of the axis."""

    lanes: list[Lane]
    begin: str
    end: str
    duration: str
    hidden_count: int
    width: float = WIDTH
    left: float = _LEFT
    right: float = WIDTH - _RIGHT

    @property
    def marks(self) -> list[Mark]:
        """One mark of each drawn kind, for the legend."""
        mark_by_kind = {mark.kind: mark for lane in self.lanes for mark in lane.marks}
        return [mark_by_kind[kind] for kind in SHAPES if kind in mark_by_kind]

    @property
    def has_blocked(self) -> bool:
        """Whether a span shows a blocked task, for the legend."""
        return any(span.state == "blocked" for lane in self.lanes for span in lane.spans)

    @property
    def height(self) -> float:
        return self.base + 20

    @property
    def base(self) -> float:
        return _TOP + _LANE_HEIGHT * len(self.lanes)


def layout(events: Sequence[TaskEvent], now: datetime | None) -> Picture | None:
    """The picture of ordered ``events``, until ``now`` if the task is not finished.

    None if there is nothing to draw: no time has passed between the events.
    """
    lanes = _lanes(events, now)
    if not lanes:
        return None
    begin = min(span.begin for lane in lanes for span in lane.spans)
    end = max(span.end for lane in lanes for span in lane.spans)
    seconds = (end - begin).total_seconds()
    shown_lanes = lanes[-MAX_LANES:]
    for number, lane in enumerate(shown_lanes):
        lane.y = _TOP + number * _LANE_HEIGHT
        _scale(lane, begin, seconds)
    return Picture(
        shown_lanes,
        begin=times.format_instant(begin),
        end=times.format_instant(end),
        duration=format_duration(end - begin),
        hidden_count=len(lanes) - len(shown_lanes),
    )


def _lanes(events: Sequence[TaskEvent], now: datetime | None) -> list[Lane]:
    lanes: dict[int, Lane] = {}

    def lane(attempt: int) -> Lane:
        number = max(1, attempt)
        return lanes.setdefault(number, Lane(number))

    for event, next_event in zip_longest(events, events[1:]):
        if event.kind in SHAPES:
            mark = Mark(event.kind, event.event_time, _tooltip(event))
            lane(_attempt_of(event)).marks.append(mark)
        span_end = next_event.event_time if next_event is not None else _open_span_end(event, now)
        state = _state(event.to_status)
        if span_end is not None and state is not None:
            end = max(span_end, event.event_time)
            span = Span(state, event.event_time, end, _worker_of(event, state))
            # Who waits, waits for the next attempt.
            _add_span(lane(event.attempt + (state in ("waiting", "blocked"))), span)
    return [lanes[number] for number in sorted(lanes) if lanes[number].spans]


def _add_span(lane: Lane, span: Span) -> None:
    last = lane.spans[-1] if lane.spans else None
    if last is not None and last.state == span.state:
        last.end = span.end
        last.worker = last.worker or span.worker
    else:
        lane.spans.append(span)


def _attempt_of(event: TaskEvent) -> int:
    """To which attempt ``event`` belongs: what is refused comes from one that is over."""
    attempt = (
        data_prefix.parse_prefix(event).get("attempt") if event.kind == EventKind.REJECT else None
    )
    return attempt if isinstance(attempt, int) else int(event.attempt)


def _worker_of(event: TaskEvent, state: str) -> str:
    # A refused event names the worker that was too late.
    is_holder = state == "running" and event.kind in (EventKind.START, EventKind.NOTE)
    return escape_invisible(event.worker) if is_holder else ""


def _state(status: object) -> str | None:
    return "idle" if status in FINAL else _STATES.get(status)


def _open_span_end(event: TaskEvent, now: datetime | None) -> datetime | None:
    """The end of the last span, None if the task is finished."""
    return now if event.to_status in UNFINISHED else None


def _scale(lane: Lane, begin: datetime, seconds: float) -> None:
    def at(instant: datetime) -> float:
        share = (instant - begin).total_seconds() / seconds if seconds > 0 else 0.0
        return _LEFT + min(1.0, max(0.0, share)) * _PLOT_WIDTH

    for span in lane.spans:
        span.x = round(at(span.begin), 1)
        span.width = round(max(_MIN_WIDTH, at(span.end) - span.x), 1)
        state_labels = {
            "waiting": _("waiting"),
            "blocked": _("blocked"),
            "running": _("running"),
            "idle": _("idle"),
        }
        duration = format_duration(max(span.end - span.begin, timedelta(0)))
        worker = f" · {span.worker}" if span.worker else ""
        span.tooltip = f"{state_labels[span.state]}: {duration}{worker}"
        span.label = _shorten(span.worker, span.width)
    for mark in lane.marks:
        mark.x = round(at(mark.time), 1)


def _shorten(worker: str, width: float) -> str:
    """The end of a worker's name, by which workers differ; empty if there is no room."""
    room = int((width - 8) / _LETTER_WIDTH)
    if room < min(len(worker), _MIN_LETTERS):
        return ""
    return worker if len(worker) <= room else f"…{worker[1 - room :]}"


def _tooltip(event: TaskEvent) -> str:
    """The tooltip of a mark: kind, reason, actor and worker."""
    parts = [str(dict(KIND).get(event.kind, event.kind)), event.reason, event.actor, event.worker]
    return escape_invisible(" · ".join(part for part in parts if part))

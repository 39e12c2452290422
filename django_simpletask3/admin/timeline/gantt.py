"""The life of a task as spans of time: one lane per attempt, to be drawn by a template as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from django.utils.translation import gettext as _

from ...ledger.fields import KIND
from ...states import FINAL, EventKind, Status
from ..html import times
from ..html.values import visible
from . import data_prefix

WIDTH = 960.0
_LEFT, _RIGHT, _LANE, _HEAD = 84.0, 12.0, 26.0, 6.0
_PLOT = WIDTH - _LEFT - _RIGHT
_THIN = 1.5
#: Attempts that are drawn: the newest.
MOST = 30

#: What is marked, each kind by a shape of its own around the origin: colours tell nothing alone.
SHAPES = {
    EventKind.RECOVER: "M0-6 6 5-6 5Z",
    EventKind.DROP: "M-5-3-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0Z",
    EventKind.RELEASE: "M0 6 6-5-6-5Z",
    EventKind.REJECT: "M0-6 6 0 0 6-6 0Z",
    EventKind.RETRY: "M6 0-5 6-5-6Z",
    EventKind.CANCEL: "M-5-5H5V5H-5Z",
    EventKind.RESET: "M-6 0 5 6 5-6Z",
    EventKind.HOLD: "M-5-5H-1V5H-5ZM1-5H5V5H1Z",
    EventKind.LIFT: "M0-6 6 0H2V6H-2V0H-6Z",
    EventKind.ERASE: "M-6-2H6V2H-6Z",
    EventKind.DELETE: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
}
#: The width of a letter in a span, and how many there must be room for.
_LETTER, _FEWEST = 6.5, 6


@dataclass(slots=True)
class Span:
    """A stretch of time in one state: waiting, running or idle; what runs has a worker."""

    state: str
    begin: datetime
    end: datetime
    worker: str = ""
    said: str = ""
    label: str = ""
    x: float = 0.0
    width: float = 0.0


@dataclass(slots=True)
class Mark:
    """Something out of the ordinary, at its time."""

    kind: EventKind
    time: datetime
    said: str
    x: float = 0.0

    @property
    def shape(self) -> str:
        return SHAPES[self.kind]

    @property
    def name(self) -> str:
        return str(dict(KIND)[self.kind])


@dataclass(slots=True)
class Lane:
    """What belongs to one attempt: the wait for it, the run, and the rest after it."""

    attempt: int
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    y: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + 9


@dataclass(slots=True)
class Picture:
    """All lanes, to scale, with the words at the axis."""

    lanes: list[Lane]
    begin: str
    end: str
    whole: str
    hidden: int
    width: float = WIDTH
    left: float = _LEFT
    right: float = WIDTH - _RIGHT

    @property
    def marks(self) -> list[Mark]:
        """One mark of each kind that is drawn, for the legend."""
        found = {mark.kind: mark for lane in self.lanes for mark in lane.marks}
        return [found[kind] for kind in SHAPES if kind in found]

    @property
    def height(self) -> float:
        return self.base + 20

    @property
    def base(self) -> float:
        return _HEAD + _LANE * len(self.lanes)


def drawn(events: Sequence[Any], now: datetime | None) -> Picture | None:
    """The picture of ``events``, in order, until ``now`` if the task is not finished; or None.

    Where there is nothing to draw (no time has passed between events) there is no picture.
    """
    lanes = _lanes(events, now)
    if not lanes:
        return None
    begin = min(span.begin for lane in lanes for span in lane.spans)
    end = max(span.end for lane in lanes for span in lane.spans)
    whole = (end - begin).total_seconds()
    shown = lanes[-MOST:]
    for number, lane in enumerate(shown):
        lane.y = _HEAD + number * _LANE
        _scale(lane, begin, whole)
    return Picture(
        shown,
        begin=times.exactly(begin),
        end=times.exactly(end),
        whole=times.in_words(end - begin),
        hidden=len(lanes) - len(shown),
    )


def _lanes(events: Sequence[Any], now: datetime | None) -> list[Lane]:
    lanes: dict[int, Lane] = {}

    def lane(attempt: int) -> Lane:
        number = max(1, attempt)
        return lanes.setdefault(number, Lane(number))

    for event, following in zip_longest(events, events[1:]):
        if event.kind in SHAPES:
            mark = Mark(event.kind, event.event_time, _told(event))
            lane(_attempt_of(event)).marks.append(mark)
        until = following.event_time if following is not None else _open_end(event, now)
        state = _state(event.to_status)
        if until is not None and state is not None:
            end = max(until, event.event_time)
            span = Span(state, event.event_time, end, _worker_of(event, state))
            # Who waits, waits for the next attempt.
            _add(lane(event.attempt + (state == "waiting")), span)
    return [lanes[number] for number in sorted(lanes) if lanes[number].spans]


def _add(lane: Lane, span: Span) -> None:
    last = lane.spans[-1] if lane.spans else None
    if last is not None and last.state == span.state:
        last.end = span.end
        last.worker = last.worker or span.worker
    else:
        lane.spans.append(span)


def _attempt_of(event: Any) -> int:
    """To which attempt ``event`` belongs: what is refused comes from one that is over."""
    said = data_prefix.said_in(event).get("attempt") if event.kind == EventKind.REJECT else None
    return said if isinstance(said, int) else int(event.attempt)


def _worker_of(event: Any, state: str) -> str:
    # Of what is refused, the event names who came too late.
    is_told = state == "running" and event.kind in (EventKind.START, EventKind.NOTE)
    return visible(event.worker) if is_told else ""


def _state(status: Any) -> str | None:
    if status == Status.PENDING:
        return "waiting"
    if status == Status.RUNNING:
        return "running"
    return "idle" if status in FINAL else None


def _open_end(event: Any, now: datetime | None) -> datetime | None:
    """Until when the last span goes on: what is finished does not go on."""
    return now if event.to_status in (Status.PENDING, Status.RUNNING) else None


def _scale(lane: Lane, begin: datetime, whole: float) -> None:
    def at(moment: datetime) -> float:
        share = (moment - begin).total_seconds() / whole if whole > 0 else 0.0
        return _LEFT + min(1.0, max(0.0, share)) * _PLOT

    for span in lane.spans:
        span.x = round(at(span.begin), 1)
        span.width = round(max(_THIN, at(span.end) - span.x), 1)
        words = {"waiting": _("waiting"), "running": _("running"), "idle": _("idle")}
        took = times.in_words(max(span.end - span.begin, timedelta(0)))
        span.said = f"{words[span.state]}: {took}" + (f" · {span.worker}" if span.worker else "")
        span.label = _fitting(span.worker, span.width)
    for mark in lane.marks:
        mark.x = round(at(mark.time), 1)


def _fitting(worker: str, width: float) -> str:
    """The end of a worker's name, by which the workers of one model differ, or nothing."""
    room = int((width - 8) / _LETTER)
    if room < min(len(worker), _FEWEST):
        return ""
    return worker if len(worker) <= room else f"…{worker[1 - room :]}"


def _told(event: Any) -> str:
    """What a mark says when it is pointed at: what, why, who."""
    said = [str(dict(KIND).get(event.kind, event.kind)), event.reason, event.actor, event.worker]
    return visible(" · ".join(word for word in said if word))

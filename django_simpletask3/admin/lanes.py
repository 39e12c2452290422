"""The life of a task as spans of time: one lane per attempt, to be drawn by a template as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from django.utils.translation import gettext as _

from django_simpletask3.fields import KIND
from django_simpletask3.states import FINAL, EventKind, Status

from . import durations, moments
from .values import visible

WIDTH = 960.0
_LEFT, _RIGHT, _LANE, _HEAD = 84.0, 12.0, 26.0, 6.0
_PLOT = WIDTH - _LEFT - _RIGHT
_THIN = 1.5
#: Attempts that are drawn: the newest.
MOST = 30

_MARKED = frozenset(
    {
        EventKind.RECOVER,
        EventKind.DROP,
        EventKind.RELEASE,
        EventKind.REJECT,
        EventKind.RETRY,
        EventKind.CANCEL,
        EventKind.RESET,
        EventKind.HOLD,
        EventKind.LIFT,
        EventKind.ERASE,
        EventKind.DELETE,
    }
)


@dataclass(slots=True)
class Span:
    """A stretch of time in one state: waiting, running or idle."""

    state: str
    begin: datetime
    end: datetime
    said: str = ""
    x: float = 0.0
    width: float = 0.0


@dataclass(slots=True)
class Mark:
    """Something out of the ordinary, at its time."""

    kind: str
    time: datetime
    said: str
    x: float = 0.0


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
        begin=moments.exactly(begin),
        end=moments.exactly(end),
        whole=durations.in_words(end - begin),
        hidden=len(lanes) - len(shown),
    )


def _lanes(events: Sequence[Any], now: datetime | None) -> list[Lane]:
    lanes: dict[int, Lane] = {}

    def lane(attempt: int) -> Lane:
        number = max(1, attempt)
        return lanes.setdefault(number, Lane(number))

    for event, following in zip_longest(events, events[1:]):
        if event.kind in _MARKED:
            mark = Mark(str(event.kind), event.event_time, _told(event))
            lane(event.attempt).marks.append(mark)
        until = following.event_time if following is not None else _open_end(event, now)
        state = _state(event.to_status)
        if until is not None and state is not None:
            span = Span(state, event.event_time, max(until, event.event_time))
            # Who waits, waits for the next attempt.
            _add(lane(event.attempt + (state == "waiting")), span)
    return [lanes[number] for number in sorted(lanes) if lanes[number].spans]


def _add(lane: Lane, span: Span) -> None:
    last = lane.spans[-1] if lane.spans else None
    if last is not None and last.state == span.state:
        last.end = span.end
    else:
        lane.spans.append(span)


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
        took = durations.in_words(max(span.end - span.begin, timedelta(0)))
        span.said = f"{words[span.state]}: {took}"
    for mark in lane.marks:
        mark.x = round(at(mark.time), 1)


def _told(event: Any) -> str:
    """What a mark says when it is pointed at: what, why, who."""
    said = [str(dict(KIND).get(event.kind, event.kind)), event.reason, event.actor, event.worker]
    return visible(" · ".join(word for word in said if word))

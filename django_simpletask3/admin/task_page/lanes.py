"""The attempts of a task to scale, one lane each, for a template to draw as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...ledger.fields import KIND
from ...models.explanation.durations import format_duration
from ...states import EventKind
from ..html import words
from ..html.pills import STATE_WORDS, State
from ..html.time_axis import Tick, share, ticks
from .events.attempts import MARKED, Attempt, Mark, Span

#: The number of attempts to draw, the newest.
MAX_LANES = 30
#: Notes of one attempt that are drawn; of more, some are left out.
MAX_NOTES = 60
#: Percent of the picture that a period has at least.
_MIN_WIDTH = 0.4

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
_SPAN_CLASSES = {State.WAITING: "st3-span-waiting", State.BLOCKED: "st3-span-blocked"}
_LATE = gettext_lazy("ran on unseen")


@dataclass(frozen=True, slots=True)
class Bar:
    """A period, from ``x`` to ``x + width`` percent."""

    x: float
    width: float
    css_class: str
    title: str


@dataclass(frozen=True, slots=True)
class DrawnMark:
    """A marked event, at ``x`` percent."""

    x: float
    shape: str
    css_class: str
    title: str
    name: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One attempt, with the words left and right of its bars."""

    attempt: Attempt
    bars: list[Bar]
    marks: list[DrawnMark]
    #: The notes of the task function, in percent.
    notes: list[float]

    @property
    def number(self) -> int:
        return self.attempt.number

    @property
    def worker(self) -> str:
        return words.worker_label(self.attempt.worker)

    @property
    def label(self) -> str:
        """What a screen reader reads in the place of the bars."""
        text = _("attempt %(number)d: %(outcome)s") % {
            "number": self.number,
            "outcome": self.attempt.outcome,
        }
        return "; ".join([text, *(mark.title for mark in self.marks)])


@dataclass(slots=True)
class Picture:
    """All lanes, to scale, with the labels of the axis and the entries of the legend."""

    lanes: list[Lane]
    ticks: list[Tick]
    hidden_count: int
    rules: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.rules = [tick.x for tick in self.ticks if tick.anchor == "middle"]

    @property
    def marks(self) -> list[DrawnMark]:
        """One mark of each drawn kind, for the legend."""
        by_shape = {mark.shape: mark for lane in self.lanes for mark in lane.marks}
        return [by_shape[shape] for shape in SHAPES.values() if shape in by_shape]

    @property
    def bars(self) -> list[tuple[str, str]]:
        """CSS class and name of the periods that are drawn, for the legend."""
        drawn = {bar.css_class for lane in self.lanes for bar in lane.bars}
        named = [(css, str(STATE_WORDS[state])) for state, css in _SPAN_CLASSES.items()]
        run = next((css for css in sorted(drawn) if css.startswith("st3-span st3-")), None)
        entries = [(css, name) for css, name in named if css in drawn]
        if run is not None:
            has_notes = any(lane.notes for lane in self.lanes)
            entries.append((run, _("running, a tick per note") if has_notes else _("running")))
        return entries + ([("st3-span-late", str(_LATE))] if "st3-span-late" in drawn else [])


def draw(attempts: Sequence[Attempt], *, is_open: bool) -> Picture | None:
    """The picture of ``attempts``, which end now if ``is_open``; None if there are none."""
    shown = attempts[-MAX_LANES:]
    if not shown:
        return None
    begin = min(span.begin for attempt in shown for span in attempt.spans)
    ends = [span.end for attempt in shown for span in attempt.spans]
    end = max([*ends, *(a.late_until for a in shown if a.late_until is not None)])
    return Picture(
        [_lane(attempt, begin, end) for attempt in shown],
        ticks(begin, end, ends_now=is_open),
        hidden_count=len(attempts) - len(shown),
    )


def _lane(attempt: Attempt, begin: datetime, end: datetime) -> Lane:
    bars = [
        _bar(span.begin, span.end, begin, end, *_class_and_title(attempt, span))
        for span in attempt.spans
    ]
    if attempt.late_until is not None and attempt.run is not None:
        late = format_duration(attempt.late_until - attempt.run.end)
        title = f"{_LATE}: {late}"
        bars.append(_bar(attempt.run.end, attempt.late_until, begin, end, "st3-span-late", title))
    step = -(-len(attempt.notes) // MAX_NOTES) or 1
    notes = [share(instant, begin, end) for instant in attempt.notes[::step]]
    marks = [_mark(mark, share(mark.time, begin, end)) for mark in attempt.marks]
    return Lane(attempt, bars, marks, notes)


def _bar(  # noqa: PLR0917
    since: datetime, until: datetime, begin: datetime, end: datetime, css_class: str, title: str
) -> Bar:
    x = min(share(since, begin, end), 100 - _MIN_WIDTH)
    width = max(share(until, begin, end) - x, _MIN_WIDTH)
    return Bar(round(x, 2), round(width, 2), css_class, title)


def _class_and_title(attempt: Attempt, span: Span) -> tuple[str, str]:
    title = f"{STATE_WORDS[span.state]}: {format_duration(span.duration)}"
    if span.state is not State.RUNNING:
        return _SPAN_CLASSES[span.state], title
    if attempt.worker:
        title = f"{title} · {words.worker_label(attempt.worker)}"
    return f"st3-span st3-{attempt.css_class}", title


def _mark(mark: Mark, x: float) -> DrawnMark:
    name = str(dict(KIND)[mark.kind])
    return DrawnMark(x, SHAPES[mark.kind], MARKED[mark.kind], mark.title, name)

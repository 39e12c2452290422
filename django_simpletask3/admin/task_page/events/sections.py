"""The events of a task in sections, one for each attempt; notes of progress are folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ....ledger.event import TaskEvent
from ....states import EventKind
from ...html import times, words
from ...html.reasons import reason_words
from .attempts import Attempt
from .lines import EventLine, event_line, is_progress_note, progress_of

#: Of folded notes, how many are shown, the newest, and how many points their curve has.
MAX_NOTES, MAX_POINTS = 20, 40
_WIDTH, _HEIGHT = 120, 16
#: Within a run of notes, these do not separate them.
_BESIDE_NOTES = (EventKind.NOTE, EventKind.CHECKPOINT)


@dataclass(frozen=True, slots=True)
class Note:
    """One of several notes of progress."""

    time: SafeString
    text: str
    progress: str


@dataclass(frozen=True, slots=True)
class FoldedNotes:
    """Notes of progress that followed each other, as one line."""

    sequence: int
    time: SafeString
    gap: str
    count: int
    #: The words of the last one, and its progress.
    text: str
    progress: str
    until: SafeString
    #: The shares over time, as the points of a curve; empty if they are not known.
    points: str
    #: The newest first.
    notes: list[Note]


@dataclass(slots=True)
class Section:
    """The events of one attempt; of none yet if ``number`` is 0."""

    number: int = 0
    worker: str = ""
    css_class: str = ""
    outcome: str = ""
    lines: list[EventLine | FoldedNotes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Order:
    """Of each event, by its number: the time since the one before, and the day of that."""

    gaps: dict[int, timedelta]
    days: dict[int, date]
    shows_outcome: bool

    @classmethod
    def of(
        cls,
        events: Sequence[TaskEvent],
        previous: TaskEvent | None,
        today: date,
        shows_outcome: bool,
    ) -> _Order:
        chain = events if previous is None else [previous, *events]
        pairs = list(pairwise(chain))
        days = {after.sequence: _day(before) for before, after in pairs}
        first = {events[0].sequence: today} if events else {}
        gaps = {b.sequence: b.event_time - a.event_time for a, b in pairs}
        return cls(gaps, {**days, **first}, shows_outcome)

    def line(self, event: TaskEvent) -> EventLine:
        number = event.sequence
        gap, day = self.gaps.get(number), self.days.get(number)
        return event_line(event, gap, day, shows_outcome=self.shows_outcome)


def build_sections(
    events: Sequence[TaskEvent],
    attempts: Iterable[Attempt],
    previous: TaskEvent | None,
    today: date,
    *,
    shows_outcome: bool = True,
) -> list[Section]:
    """The sections of ordered ``events``; ``previous`` is the event before them, if it is known.

    A time has its date if that is not the one of the event before, or ``today`` of the first.
    Results and errors are left out unless it ``shows_outcome``.
    """
    by_number = {attempt.number: attempt for attempt in attempts}
    order = _Order.of(events, previous, today, shows_outcome)
    return [_section(n, run, by_number.get(n), order) for n, run in _split(events)]


def _split(events: Sequence[TaskEvent]) -> list[tuple[int, list[TaskEvent]]]:
    """The events by attempt: each begins with its start."""
    runs: list[tuple[int, list[TaskEvent]]] = []
    for event in events:
        if event.kind == EventKind.START or not runs:
            is_begun = event.kind == EventKind.START or event.sequence > 1
            runs.append((event.attempt if is_begun else 0, []))
        runs[-1][1].append(event)
    return runs


def _section(
    number: int, events: list[TaskEvent], attempt: Attempt | None, order: _Order
) -> Section:
    section = Section(number, lines=_lines(events, order))
    if attempt is not None and number and attempt.run is not None:
        section.worker = words.worker_label(attempt.worker)
        section.css_class = attempt.css_class
        section.outcome = _outcome(attempt, attempt.run.begin)
    return section


def _outcome(attempt: Attempt, began: datetime) -> str:
    if attempt.ended_by is not None:
        return attempt.outcome
    return _("running since %(time)s") % {"time": f"{times.local_time(began):%H:%M:%S}"}


def _lines(events: list[TaskEvent], order: _Order) -> list[EventLine | FoldedNotes]:
    lines: list[EventLine | FoldedNotes] = []
    for is_note, run in groupby(events, key=lambda event: event.kind in _BESIDE_NOTES):
        rest = list(run)
        notes = [event for event in rest if is_progress_note(event)] if is_note else []
        if len(notes) > 1:
            lines.append(_fold(notes, order))
            rest = [event for event in rest if event not in notes]
        lines += map(order.line, rest)
    return lines


def _fold(notes: list[TaskEvent], order: _Order) -> FoldedNotes:
    line, last = order.line(notes[0]), notes[-1]
    progress = [progress_of(note) for note in notes]
    shown = list(zip(notes, progress, strict=True))[: -MAX_NOTES - 1 : -1]
    day = _day(notes[0])
    return FoldedNotes(
        line.sequence,
        line.time,
        line.gap,
        len(notes),
        reason_words(last.reason),
        progress[-1].text if progress[-1] else "",
        times.exact_time(last.event_time, day),
        _points([p.share for p in progress if p is not None and p.share is not None]),
        [
            Note(
                times.exact_time(note.event_time, day),
                reason_words(note.reason),
                p.text if p else "",
            )
            for note, p in shown
        ],
    )


def _points(shares: list[float]) -> str:
    step = -(-len(shares) // MAX_POINTS) or 1
    shown = [*shares[:-1:step], *shares[-1:]]
    if len(shown) < 2:
        return ""
    width = (_WIDTH - 1) / (len(shown) - 1)
    return " ".join(
        f"{round(i * width, 1)},{round(_HEIGHT - 1 - share * (_HEIGHT - 2), 1)}"
        for i, share in enumerate(shown)
    )


def _day(event: TaskEvent) -> date:
    return times.local_time(event.event_time).date()

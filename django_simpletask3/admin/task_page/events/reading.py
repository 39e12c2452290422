"""The events that a task's page shows: the newest, or a page of earlier ones, or of some kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import and_
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Substr
from django.utils.translation import gettext_lazy as _

from ....ledger.event import TaskEvent, events_of
from ....ledger.task_row import write_database
from ....models.task import SimpleTask
from ....states import EVENTS, EventKind
from ...task_details import data_prefix

#: The query parameter that selects the events before a sequence number.
PAGE_PARAMETER = "events_before"
#: The one that selects some kinds.
KIND_PARAMETER = "events"
PAGE_SIZE = 200
_MAX_DIGITS = 10


class Kinds(StrEnum):
    """Which events are listed; the values stand in addresses."""

    ALL = "all"
    STATES = "states"
    NOTES = "notes"
    RECOVERIES = "recoveries"
    PEOPLE = "people"


KINDS_LABELS = {
    Kinds.ALL: _("All"),
    Kinds.STATES: _("States"),
    Kinds.NOTES: _("Notes"),
    Kinds.RECOVERIES: _("Recoveries"),
    Kinds.PEOPLE: _("People"),
}
_STATE_KINDS = frozenset(kind for kind, spec in EVENTS.items() if spec.changes_state)
_NOTE_KINDS = frozenset({EventKind.NOTE, EventKind.CHECKPOINT})
_RECOVERY_KINDS = frozenset(kind for kind, spec in EVENTS.items() if spec.reported_as_recovery)
#: The actors of the package begin like that.
_NO_PEOPLE = ("recovery", "retention", "schedule ", "signal ", "dependencies", "migrate")


@dataclass(frozen=True, slots=True)
class Choice:
    """A link to the events of some kinds; ``count`` is None if it is not known."""

    label: str
    query: str
    count: int | None
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class EventSelection:
    """What the address of the page selects."""

    kinds: Kinds = Kinds.ALL
    #: The page ends before the event with this number; None is the newest page.
    before: int | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> EventSelection:
        """The selection of the query parameters; those that make no sense are ignored."""
        kinds = str(parameters.get(KIND_PARAMETER, ""))
        before = str(parameters.get(PAGE_PARAMETER, ""))
        return cls(
            Kinds(kinds) if kinds in set(Kinds) else Kinds.ALL,
            int(before) if before.isdecimal() and len(before) < _MAX_DIGITS else None,
        )

    def query(self, **changes: object) -> str:
        """The query string of this selection with ``changes``."""
        values = {KIND_PARAMETER: self.kinds.value, PAGE_PARAMETER: self.before, **changes}
        chosen = {name: value for name, value in values.items() if value not in (None, "all")}
        return f"?{urlencode(chosen)}"


class EventPage:
    """Events of ``task``, oldest first, with the first part of their data."""

    def __init__(self, task: SimpleTask, selection: EventSelection, *, page_size: int = 0) -> None:
        self.task, self.selection = task, selection
        self._size = page_size or PAGE_SIZE
        rows = _read(task, limit=self._size + 1)
        #: The newest events, and whether there are no others.
        self.events: list[TaskEvent] = rows[-self._size :]
        self.is_complete = len(rows) <= self._size
        if selection != EventSelection():
            rows = self._selected()
        #: Those that the page lists, and whether there are older ones.
        self.listed: list[TaskEvent] = rows[-self._size :]
        self.has_older = len(rows) > self._size
        #: The event before ``listed``, if it was read.
        self.previous: TaskEvent | None = rows[0] if self.has_older else None

    def _selected(self) -> list[TaskEvent]:
        kinds, before = self.selection.kinds, self.selection.before
        if not self.is_complete:
            return _read(self.task, _FILTERS[kinds], before=before, limit=self._size + 1)
        return [
            event
            for event in self.events
            if kinds in kinds_of(event) and (before is None or event.sequence < before)
        ]

    @property
    def choices(self) -> list[Choice]:
        """A link for each choice of kinds that has events, as far as that is known."""
        counts = self._counts() if self.is_complete else {}
        return [
            Choice(
                str(label),
                EventSelection(kinds).query(),
                self.task.sequence if kinds is Kinds.ALL and not counts else counts.get(kinds),
                kinds is self.selection.kinds,
            )
            for kinds, label in KINDS_LABELS.items()
            if not counts or counts[kinds] or kinds is self.selection.kinds
        ]

    @property
    def older_query(self) -> str:
        """The query string of the events before these; empty if there are none."""
        if not self.has_older or not self.listed:
            return ""
        return self.selection.query(**{PAGE_PARAMETER: self.listed[0].sequence})

    @property
    def older_count(self) -> int | None:
        """The number of events before these, if it is known."""
        is_known = self.selection.kinds is Kinds.ALL and self.listed
        return int(self.listed[0].sequence) - 1 if is_known else None

    @property
    def newest_query(self) -> str:
        """The query string of the newest events; empty on their page."""
        return "" if self.selection.before is None else self.selection.query(events_before=None)

    def _counts(self) -> dict[Kinds, int]:
        counts = dict.fromkeys(Kinds, 0)
        for event in self.events:
            for kinds in kinds_of(event):
                counts[kinds] += 1
        return counts


def kinds_of(event: TaskEvent) -> set[Kinds]:
    """The choices of kinds by which ``event`` is listed."""
    is_by_person = bool(event.actor) and not event.actor.startswith(_NO_PEOPLE)
    return {
        Kinds.ALL,
        *([Kinds.STATES] if event.kind in _STATE_KINDS else []),
        *([Kinds.NOTES] if event.kind in _NOTE_KINDS else []),
        *([Kinds.RECOVERIES] if event.kind in _RECOVERY_KINDS else []),
        *([Kinds.PEOPLE] if is_by_person else []),
    }


_FILTERS = {
    Kinds.ALL: Q(),
    Kinds.STATES: Q(kind__in=_STATE_KINDS),
    Kinds.NOTES: Q(kind__in=_NOTE_KINDS),
    Kinds.RECOVERIES: Q(kind__in=_RECOVERY_KINDS),
    Kinds.PEOPLE: reduce(and_, (~Q(actor__startswith=name) for name in _NO_PEOPLE), ~Q(actor="")),
}


def first_event(task: SimpleTask) -> TaskEvent | None:
    """The event with which ``task`` was enqueued, if it is the first of its stream; one query.

    None if an earlier row with the same key has the beginning of the stream.
    """
    rows = _with_data_prefix(events_of(type(task), write_database(task))).filter(task=task.pk)
    event = rows.filter(sequence=1).first()
    return event if event is not None and is_enqueuing(event, task) else None


def is_enqueuing(event: TaskEvent, task: SimpleTask) -> bool:
    """Whether ``event`` is the one with which ``task``, and no earlier row, was enqueued."""
    seconds = abs((event.event_time - task.add_time).total_seconds())
    return event.kind == EventKind.ENQUEUE and seconds < 1


def _read(
    task: SimpleTask, condition: Q | None = None, *, before: int | None = None, limit: int
) -> list[TaskEvent]:
    """The last events before number ``before``, oldest first; one query."""
    # From where the task was read, which may be a replica.
    events = events_of(type(task), task._state.db or write_database(task)).filter(task=task.pk)
    rows = _with_data_prefix(events)
    if condition is not None:
        rows = rows.filter(condition)
    if before is not None:
        rows = rows.filter(sequence__lt=before)
    return list(rows.order_by("-sequence")[:limit])[::-1]


def _with_data_prefix(events: QuerySet[Any]) -> QuerySet[Any]:
    prefix = Substr("data", 1, data_prefix.LIMIT + 1, output_field=TextField())
    rows: QuerySet[Any] = events.defer("data").annotate(head=prefix)
    return rows

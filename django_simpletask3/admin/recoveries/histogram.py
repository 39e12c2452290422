"""How often a task ran again, was given up, or had a result refused, on each of thirty days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...db.limited_queries import BoundQuery, Placeholder, capped_counts, first_rows
from ...ledger.fields import KindField
from ...models.task import SimpleTask
from ...monitoring.scope import QueryScope
from ...states import EventKind
from ..html import times
from ..html.values import format_count

DAYS = 30
#: Events that are counted, of each table, kind and day.
MAX_COUNTED = 1000
WIDTH, HEIGHT = 600, 96
_BAR = 0.85
#: Days between two labels of the axis.
_LABEL_STEP = 5
_LEAST_TOP = 2

#: What is drawn, from the bottom up, with its class of colour and its name.
SERIES = {
    EventKind.RECOVER: ("st3-lost", gettext_lazy("ran again")),
    EventKind.DROP: ("st3-failed", gettext_lazy("given up")),
    EventKind.REJECT: ("st3-refused", gettext_lazy("late result refused")),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of the column of a day, in units of the picture."""

    css: str
    x: float
    y: float
    width: float
    height: float


@dataclass(slots=True)
class Day:
    """A day: its numbers, what the pointer shows, and the query of its list."""

    day: date
    x: float
    counts: dict[EventKind, int] = field(default_factory=lambda: dict.fromkeys(SERIES, 0))
    capped: set[EventKind] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def name(self) -> str:
        return times.format_day(self.day, times.today())

    @property
    def numbers(self) -> list[str]:
        """In the order of the series."""
        return [_number(self.counts[kind], kind in self.capped) for kind in SERIES]

    @property
    def words(self) -> str:
        names = (name for _css, name in SERIES.values())
        pairs = zip(names, self.numbers, strict=True)
        return f"{self.name} · " + ", ".join(f"{name} {number}" for name, number in pairs)

    @property
    def query(self) -> str:
        return urlencode({"since": self.day.isoformat(), "until": self.day.isoformat()})


@dataclass(slots=True)
class Histogram:
    """The picture, its axes in words, and the days, of which a table shows the same numbers."""

    days: list[Day]
    top: int

    @property
    def series(self) -> list[tuple[str, Any]]:
        return list(SERIES.values())

    @property
    def axis(self) -> list[str]:
        half = self.top / 2
        return [_number(self.top), number_format(half, 0 if half % 1 == 0 else 1), "0"]

    @property
    def is_empty(self) -> bool:
        return not any(day.total for day in self.days)

    @property
    def newest_first(self) -> list[Day]:
        """The days on which something happened."""
        return [day for day in reversed(self.days) if day.total]

    @property
    def step(self) -> float:
        return WIDTH / DAYS

    @property
    def labels(self) -> list[tuple[str, str, str]]:
        """Place in percent, anchor and words of the labels of the axis."""
        inner = range(_LABEL_STEP, DAYS - _LABEL_STEP + 1, _LABEL_STEP)
        first, last = self.days[0].name, self.days[-1].name
        middle = [(f"{(n + 0.5) / DAYS * 100:.2f}%", "middle", self.days[n].name) for n in inner]
        return [("0%", "start", first), *middle, ("100%", "end", last)]

    def bars(self) -> Iterator[Bar]:
        """The parts of the columns."""
        for day in self.days:
            base = float(HEIGHT)
            for kind, (css, _name) in SERIES.items():
                height = day.counts[kind] / self.top * HEIGHT
                base -= height
                if height:
                    x = day.x + self.step * (1 - _BAR) / 2
                    yield Bar(css, round(x, 1), round(base, 1), self.step * _BAR, round(height, 1))


def midnight(day: date) -> datetime:
    """The beginning of ``day`` in the current time zone."""
    zone = timezone.get_current_timezone() if settings.USE_TZ else None
    return datetime.combine(day, time.min, zone)


def histogram(scope: QueryScope) -> Histogram:
    """The counts of the last thirty days by the index of kind and time.

    One statement per database, and where something happened one or a few more.
    """
    today = times.today()
    days = [
        Day(today - timedelta(days=DAYS - 1 - n), round(n * WIDTH / DAYS, 1)) for n in range(DAYS)
    ]
    for counts in scope.query_databases(partial(_counts, scope, days)):
        for (day, kind), count in counts:
            day.counts[kind] += min(count, MAX_COUNTED)
            day.capped |= {kind} if count > MAX_COUNTED else set()
    return Histogram(days, _round_up(max(day.total for day in days)))


def _counts(
    scope: QueryScope, days: list[Day], using: str, roots: Iterable[type[SimpleTask]]
) -> list[tuple[tuple[Day, EventKind], int]]:
    moments = [midnight(day.day) for day in days] + [midnight(days[-1].day + timedelta(days=1))]
    kind, begin, end = Placeholder("kind", KindField()), *_bounds()
    events = {
        root: scope.events(root, using).filter(kind=kind, event_time__gte=begin, event_time__lt=end)
        for root in roots
    }
    active = _active(using, events, moments)
    spans = [{"begin": moments[n], "end": moments[n + 1]} for n in range(DAYS)]
    queries = {
        (root, kind, n): BoundQuery(query, {**span, "kind": kind})
        for (root, kind), query in active.items()
        for n, span in enumerate(spans)
    }
    counts = capped_counts(using, queries, MAX_COUNTED + 1)
    return [((days[n], kind), count) for (_root, kind, n), count in counts.items()]


def _active(
    using: str, events: dict[type[SimpleTask], Any], moments: list[datetime]
) -> dict[tuple[type[SimpleTask], EventKind], Any]:
    """The tables and kinds of which anything happened, with the query that counts a day."""
    whole = {"begin": moments[0], "end": moments[-1]}
    rows = {root: query.values_list("sequence") for root, query in events.items()}
    queries = {
        (root, kind): BoundQuery(query, {**whole, "kind": kind})
        for root, query in rows.items()
        for kind in SERIES
    }
    found = first_rows(using, queries, 1)
    return {(root, kind): rows[root] for (root, kind), first in found.items() if first}


def _bounds() -> tuple[Placeholder, Placeholder]:
    moment = models.DateTimeField()
    return Placeholder("begin", moment), Placeholder("end", moment)


def _number(count: int, is_at_least: bool = False) -> str:
    words = format_count(count)
    return _("%(count)s or more") % {"count": words} if is_at_least else words


def _round_up(value: int) -> int:
    """The next of 2, 5, 10, 20, 50, ... that is not below ``value``."""
    size = 1
    while size * 10 < value:
        size *= 10
    return max(_LEAST_TOP, next(size * n for n in (1, 2, 5, 10) if size * n >= value))

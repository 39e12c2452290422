"""What was done in a period, how often, and how long it took: figures for charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import TruncDay, TruncHour, TruncMinute
from django.utils import timezone

from .catalog import databases_of, roots
from .events import event_model_of
from .models import SimpleTask
from .querysets import rows_of
from .slices import first_of
from .states import EventKind

#: Finished tasks per bar and table of which it is known how long they waited and ran: the newest.
SAMPLE = 100

_KINDS = (EventKind.ENQUEUE, EventKind.ACK, EventKind.FAIL, EventKind.DROP, EventKind.RETRY)


class Period(StrEnum):
    """How far back to look, in bars of what length."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_BARS = {
    Period.HOUR: (60, timedelta(minutes=1), TruncMinute),
    Period.DAY: (24, timedelta(hours=1), TruncHour),
    Period.WEEK: (7 * 24, timedelta(hours=1), TruncHour),
    Period.MONTH: (30, timedelta(days=1), TruncDay),
}


@dataclass(slots=True)
class Bar:
    """What happened from ``begin`` until before ``end``; waits and runs in seconds, sorted."""

    begin: datetime
    end: datetime
    counts: Counter[EventKind] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)

    @property
    def succeeded(self) -> int:
        return self.counts[EventKind.ACK]

    @property
    def failed(self) -> int:
        """Those that raised with no retry left, and those that were given up."""
        return self.counts[EventKind.FAIL] + self.counts[EventKind.DROP]

    @property
    def failure_rate(self) -> float | None:
        """Failed ones of those that came to an end, from 0 to 1; None if none did."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None


def bars(
    period: Period, chosen: Iterable[type[SimpleTask]] | None = None, *, now: datetime | None = None
) -> list[Bar]:
    """The bars of ``period`` until ``now``, oldest first, over the tables of the models ``chosen``.

    The last bar is not over. Two statements per database (and one more for every 200 bars of
    models in which tasks have ended), each by an index. Aligned to hours and days of UTC.
    """
    number, width, _trunc = _BARS[period]
    now = now or timezone.now()
    last = _aligned(now, width)
    made = [Bar(last - width * n, last - width * (n - 1)) for n in reversed(range(number))]
    by_begin = {bar.begin: bar for bar in made}
    by_database: dict[str, list[type[SimpleTask]]] = {}
    for root in roots(chosen):
        for using in databases_of(root):
            by_database.setdefault(using, []).append(root)
    for using, found in by_database.items():
        ended = _count(using, found, period, by_begin)
        _measure(using, ended, by_begin)
    for bar in made:
        bar.waits.sort()
        bar.runs.sort()
    return made


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank of ``share`` (0.5: the median) of sorted ``values``; None without any."""
    if not values:
        return None
    return values[min(len(values) - 1, max(0, round(share * len(values) + 0.5) - 1))]


def _count(
    using: str, found: list[type[SimpleTask]], period: Period, by_begin: dict[datetime, Bar]
) -> list[tuple[type[SimpleTask], Bar]]:
    """Count events into the bars; the tables and bars in which tasks came to an end."""
    _number, _width, trunc = _BARS[period]
    begin = min(by_begin)
    zone = UTC if settings.USE_TZ else None
    queries = {
        root: models.QuerySet(event_model_of(root), using=using)
        .filter(kind__in=_KINDS, event_time__gte=begin)
        .order_by()
        .annotate(bar=trunc("event_time", tzinfo=zone))
        .values_list("kind", "bar")
        .annotate(number=models.Count("pk"))
        for root in found
    }
    ended: set[tuple[type[SimpleTask], datetime]] = set()
    for root, rows in first_of(using, queries, most=len(_KINDS) * len(by_begin) * 2).items():
        for kind, when, number in rows:
            bar = by_begin.get(when)
            if bar is None:
                continue
            bar.counts[EventKind(kind)] += number
            if kind in (EventKind.ACK, EventKind.FAIL, EventKind.DROP):
                ended.add((root, when))
    in_order = sorted(ended, key=lambda pair: (pair[0]._meta.label, pair[1]))
    return [(root, by_begin[when]) for root, when in in_order]


def _measure(
    using: str, ended: list[tuple[type[SimpleTask], Bar]], by_begin: dict[datetime, Bar]
) -> None:
    names = ("add_time", "run_after", "start_time", "done_time", "attempt")
    queries = {
        (root._meta.label, bar.begin): rows_of(root, using)
        .filter(done_time__gte=bar.begin, done_time__lt=bar.end)
        .order_by("-done_time")
        .values_list(*names)
        for root, bar in ended
    }
    for (_label, begin), rows in first_of(using, queries, SAMPLE).items():
        for row in rows:
            _tell(by_begin[begin], row)


def _tell(bar: Bar, row: tuple[Any, ...]) -> None:
    add_time, run_after, start, done, attempt = row
    if start is None:
        return
    bar.runs.append(max(0.0, (done - start).total_seconds()))
    # How long a later attempt was waited for, the row does not tell.
    if attempt == 1:
        since = add_time if run_after is None else max(add_time, run_after)
        bar.waits.append(max(0.0, (start - since).total_seconds()))


def _aligned(moment: datetime, width: timedelta) -> datetime:
    utc = moment.astimezone(UTC) if timezone.is_aware(moment) else moment
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (utc - midnight) // width * width

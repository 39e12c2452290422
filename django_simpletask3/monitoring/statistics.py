"""What was done in a period, how often, and how long it took: figures for charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.db import connections, models
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from ..db.limited_queries import Blank, Filled, counted_of, first_of
from ..ledger.event import event_model_of
from ..ledger.fields import KindField
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..states import EventKind, Status
from .scope import Scope

#: Tasks per bar and table, of those whose bodies ended, that are measured: the newest.
SAMPLE = 100
#: Events that are counted per bar and table; whoever has more sees that number.
MOST = 100_000

# The database subtracts: to make times of the time zone of thousands of values takes longer.
_TIME = models.DateTimeField()
_DUE = Greatest(
    "add_time", Coalesce("run_after", "add_time", output_field=_TIME), output_field=_TIME
)
_WAITED = models.F("start_time") - _DUE
_RAN = models.F("done_time") - models.F("start_time")
_KIND, _BEGIN, _END = Blank("kind", KindField()), Blank("begin", _TIME), Blank("end", _TIME)

# No event is appended to what is over for so long. It is counted again after a while, as events may
# have been pruned.
_SETTLED = timedelta(hours=1)
_past = LocMemCache(__name__, {"TIMEOUT": 600, "OPTIONS": {"MAX_ENTRIES": 20_000}})

_KINDS = {"succeeded": (EventKind.ACK,), "failed": (EventKind.FAIL, EventKind.DROP)}


class Period(StrEnum):
    """How far back to look, in bars of what length."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_BARS = {
    Period.HOUR: (60, timedelta(minutes=1)),
    Period.DAY: (24, timedelta(hours=1)),
    Period.WEEK: (4 * 7, timedelta(hours=6)),
    Period.MONTH: (30, timedelta(days=1)),
}


@dataclass(slots=True)
class Bar:
    """What happened from ``begin`` until before ``end``; waits and runs in seconds, sorted."""

    begin: datetime
    end: datetime
    counts: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)

    @property
    def succeeded(self) -> int:
        return self.counts["succeeded"]

    @property
    def failed(self) -> int:
        """Those that raised with no retry left, and those that were given up."""
        return self.counts["failed"]

    @property
    def failure_rate(self) -> float | None:
        """Failed ones of those that came to an end, from 0 to 1; None if none did."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None


def bars(
    period: Period,
    chosen: Scope | Iterable[type[SimpleTask]] | None = None,
    *,
    now: datetime | None = None,
) -> list[Bar]:
    """The bars of ``period`` until ``now``, oldest first, over the tables of the models ``chosen``.

    The last bar is not over. Counted by the index of kind and time, a bar of a table by itself, and
    for hundreds of them in one statement: three statements per database for a handful of tables in
    which something ended, whatever their size. Aligned to hours and days of UTC.
    """
    number, width = _BARS[period]
    now = now or timezone.now()
    last = _aligned(now, width)
    made = [Bar(last - width * n, last - width * (n - 1)) for n in reversed(range(number))]
    scope = Scope.of(chosen)
    for counts, samples in scope.asked(partial(_figures, scope, made)):
        for bar in made:
            bar.counts += counts.get(bar.begin, Counter())
            for row in samples.get(bar.begin, ()):
                _tell(bar, row)
    for bar in made:
        bar.waits.sort()
        bar.runs.sort()
    return made


#: What the bars, known by when they begin, have to say of one database.
_Told = tuple[dict[datetime, Counter[str]], dict[datetime, list[tuple[Any, ...]]]]


def _figures(scope: Scope, made: list[Bar], using: str, found: list[type[SimpleTask]]) -> _Told:
    # Of a database that goes away meanwhile nothing is told: half of it would be wrong.
    busy = _busy(scope, using, found, made[0].begin)
    counts = _count(scope, using, busy, made)
    told: dict[datetime, Counter[str]] = {}
    for (_root, name, begin), number in counts.items():
        told.setdefault(begin, Counter())[name] += number
    ended = {(root, begin): None for (root, _name, begin), number in counts.items() if number}
    samples: dict[datetime, list[tuple[Any, ...]]] = {}
    for (_root, begin), rows in _measure(scope, using, list(ended), made).items():
        samples.setdefault(begin, []).extend(rows)
    return told, samples


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank of ``share`` (0.5: the median) of sorted ``values``; None without any."""
    if not values:
        return None
    return values[min(len(values) - 1, max(0, round(share * len(values) + 0.5) - 1))]


def _busy(
    scope: Scope, using: str, found: list[type[SimpleTask]], begin: datetime
) -> list[type[SimpleTask]]:
    """Those of the tables in which a task has ended since ``begin``."""
    # In the order of the index: else one might begin to read the table for want of a better idea.
    ended = {
        root: _events(scope, root, using)
        .filter(kind=_KIND, event_time__gte=begin)
        .order_by("-event_time")
        .values_list("kind")
        for root in found
    }
    queries = {
        (root, kind): Filled(rows, {"kind": kind})
        for root, rows in ended.items()
        for kind in chain.from_iterable(_KINDS.values())
    }
    told = first_of(using, queries, 1)
    return [root for root in found if any(rows for (of, _kind), rows in told.items() if of is root)]


def _count(
    scope: Scope, using: str, found: list[type[SimpleTask]], made: list[Bar]
) -> dict[tuple[type[SimpleTask], str, datetime], int]:
    """How many events there were, by table, name and the begin of a bar."""
    wanted = {(root, name, bar.begin): bar for root in found for name in _KINDS for bar in made}
    # What a user may not see of a table is not told by what others saw.
    cached = {
        key: _name(using, key[0], key[1], bar)
        for key, bar in wanted.items()
        if key[0] not in scope.within and bar.end < timezone.now() - _SETTLED
    }
    remembered = _past.get_many(cached.values())
    told = {key: remembered[name] for key, name in cached.items() if name in remembered}
    ended = {
        (root, name): _events(scope, root, using)
        .filter(kind__in=_KINDS[name], event_time__gte=_BEGIN, event_time__lt=_END)
        .order_by()
        .values_list("pk")
        for root in found
        for name in _KINDS
    }
    queries = {
        (root, name, begin): Filled(ended[root, name], {"begin": begin, "end": bar.end})
        for (root, name, begin), bar in wanted.items()
        if (root, name, begin) not in told
    }
    counted = counted_of(using, queries, MOST)
    _past.set_many({cached[key]: number for key, number in counted.items() if key in cached})
    return told | counted


def _name(using: str, root: type[SimpleTask], name: str, bar: Bar) -> str:
    """By what a number of a bar that is long over is remembered."""
    # Of several tenants each has a schema of its own, behind one alias.
    place = (using, getattr(connections[using], "schema_name", ""), root._meta.db_table)
    return ":".join(map(str, (*place, name, bar.begin.timestamp(), bar.end.timestamp())))


def _measure(
    scope: Scope, using: str, ended: list[tuple[type[SimpleTask], datetime]], made: list[Bar]
) -> dict[tuple[type[SimpleTask], datetime], list[tuple[Any, ...]]]:
    """The newest finished tasks of tables and bars in which there are any."""
    ends = {bar.begin: bar.end for bar in made}
    measured = {
        root: scope.kept(rows_of(root, using), root, using)
        .filter(_has_said_its_end(root, using), done_time__gte=_BEGIN, done_time__lt=_END)
        .order_by("-done_time")
        .values_list("attempt", _WAITED, _RAN)
        for root in {root for root, _begin in ended}
    }
    queries = {
        (root, begin): Filled(measured[root], {"begin": begin, "end": ends[begin]})
        for root, begin in ended
    }
    return first_of(using, queries, SAMPLE)


def _has_said_its_end(root: type[SimpleTask], using: str) -> Any:
    """Tasks whose last run ended by its body: how long others ran, nobody knows."""
    events: Any = models.QuerySet(event_model_of(root), using=using)
    given_up = events.filter(
        task=models.OuterRef("pk"), kind=EventKind.DROP, event_time=models.OuterRef("done_time")
    )
    return models.Q(status=Status.SUCCESS) | models.Q(
        ~models.Exists(given_up), status=Status.FAILED
    )


def _events(scope: Scope, root: type[SimpleTask], using: str) -> Any:
    rows: Any = models.QuerySet(event_model_of(root), using=using)
    return scope.kept(rows, root, using, "task")


def _tell(bar: Bar, row: tuple[Any, ...]) -> None:
    attempt, waited, ran = row
    if ran is None:
        return
    bar.runs.append(max(0.0, ran.total_seconds()))
    # How long a later attempt was waited for, the row does not tell.
    if attempt == 1:
        bar.waits.append(max(0.0, waited.total_seconds()))


def _aligned(moment: datetime, width: timedelta) -> datetime:
    utc = moment.astimezone(UTC) if timezone.is_aware(moment) else moment
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (utc - midnight) // width * width

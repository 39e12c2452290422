"""Statistics of a period for charts: numbers of finished tasks, waiting times and run times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import partial
from itertools import chain, pairwise
from typing import Any, TypeVar

from django.core.cache.backends.locmem import LocMemCache
from django.db import connections, models
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from ..conf.time_source import machine_now
from ..db.limited_queries import BoundQuery, Placeholder, capped_counts, first_rows
from ..ledger.event import events_of
from ..ledger.fields import KindField
from ..models.task import SimpleTask
from ..states import EventKind, Status
from .scope import QueryScope

#: Tasks that are measured, per bucket and table: the newest whose task function ended.
SAMPLE_SIZE = 100
#: Events that are counted, per bucket and table; more are reported as this number.
MAX_COUNTED = 100_000

# The database subtracts: converting thousands of values to the time zone would take longer.
_TIME = models.DateTimeField()
_DUE_TIME = Greatest(
    "add_time", Coalesce("run_after", "add_time", output_field=_TIME), output_field=_TIME
)
_WAIT = models.F("start_time") - _DUE_TIME
_DURATION = models.F("done_time") - models.F("start_time")
_NO = models.Value(False, output_field=models.BooleanField())
_KIND = Placeholder("kind", KindField())
_BEGIN, _END = Placeholder("begin", _TIME), Placeholder("end", _TIME)

# Hardly an event is added to a bucket that ended so long ago, if transactions take no longer. It is
# read again after half a minute: every viewer of the dashboard asks for it each five seconds.
_CACHEABLE_AFTER = timedelta(seconds=90)
_CACHE_SECONDS = 30
# No event is added to a bucket that ended so long ago. It is counted again after ten minutes, as
# events may have been pruned.
_OLD_AFTER = _HOUR = timedelta(hours=1)
_OLD_CACHE_SECONDS = 600
_count_cache = LocMemCache(__name__, {"OPTIONS": {"MAX_ENTRIES": 20_000}})
_sample_cache = LocMemCache(f"{__name__}.samples", {"OPTIONS": {"MAX_ENTRIES": 2_000}})

_KINDS = {"succeeded": (EventKind.ACK,), "failed": (EventKind.FAIL, EventKind.DROP)}


class Period(StrEnum):
    """A period up to now, divided into buckets."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_BUCKETS = {
    Period.HOUR: (30, timedelta(minutes=2)),
    Period.DAY: (24, timedelta(hours=1)),
    Period.WEEK: (4 * 7, timedelta(hours=6)),
    Period.MONTH: (30, timedelta(days=1)),
}


@dataclass(slots=True)
class TimeBucket:
    """Statistics from ``begin`` until before ``end``; ``waits`` and ``runs`` in seconds, sorted."""

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
        """Tasks that raised an error without a retry left, and tasks that were dropped."""
        return self.counts["failed"]

    @property
    def failure_rate(self) -> float | None:
        """The share of failed tasks among finished ones, from 0 to 1; None if none finished."""
        return self.failed / self.done if self.done else None

    @property
    def done(self) -> int:
        return self.succeeded + self.failed

    def add(self, other: TimeBucket) -> None:
        """Count what ``other`` has as well."""
        self.counts += other.counts
        self.waits = sorted([*self.waits, *other.waits])
        self.runs = sorted([*self.runs, *other.runs])

    def sort(self) -> None:
        """Sort the durations, after they were added."""
        self.waits.sort()
        self.runs.sort()


#: Begin and end of a bucket.
_Span = tuple[datetime, datetime]


@dataclass(slots=True)
class Statistics:
    """The buckets of some periods, by table; an empty bucket is not kept."""

    spans: dict[Period, list[_Span]]
    by_table: dict[tuple[type[SimpleTask], _Span], TimeBucket] = field(default_factory=dict)

    def table(self, period: Period, root: type[SimpleTask]) -> list[TimeBucket]:
        """The buckets of ``root`` in all databases, oldest first."""
        return [self.by_table.get((root, span)) or TimeBucket(*span) for span in self.spans[period]]

    def total(self, period: Period) -> list[TimeBucket]:
        """The buckets over all tables, oldest first."""
        buckets = {span: TimeBucket(*span) for span in self.spans[period]}
        for (_root, span), bucket in self.by_table.items():
            if span in buckets:
                buckets[span].add(bucket)
        return [*buckets.values()]

    def bucket(self, root: type[SimpleTask], span: _Span) -> TimeBucket:
        """The bucket of ``root``, added if it is new."""
        return self.by_table.setdefault((root, span), TimeBucket(*span))


def time_buckets(
    period: Period, scope: QueryScope | None = None, *, now: datetime | None = None
) -> list[TimeBucket]:
    """The buckets of ``period`` until ``now``, oldest first, over the tables in ``scope``."""
    return collect([period], scope, now=now).total(period)


def collect(
    periods: Iterable[Period], scope: QueryScope | None = None, *, now: datetime | None = None
) -> Statistics:
    """The statistics of ``periods`` until ``now``, of the tables in ``scope``.

    Buckets are aligned to hours, longer ones to the days of the current time zone; the last one is
    not over yet. Each bucket of each table is counted by the index of kind and time, hundreds of
    them in one query: three queries per database for a handful of active tables, whatever their
    size and however many periods.
    """
    now, scope = now or machine_now(), scope or QueryScope()
    statistics = Statistics({period: _spans(period, now) for period in periods})
    spans = [span for of_period in statistics.spans.values() for span in of_period]
    for counts, samples in scope.query_databases(partial(_figures, scope, spans)):
        for (root, name, span), number in counts.items():
            if number:
                statistics.bucket(root, span).counts[name] += number
        for (root, span), rows in samples.items():
            for row in rows:
                _add_durations(statistics.bucket(root, span), row)
    for bucket in statistics.by_table.values():
        bucket.sort()
    return statistics


def _spans(period: Period, now: datetime) -> list[_Span]:
    bucket_count, width = _BUCKETS[period]
    last = _align(_wall_time(now, width), width)
    edges = [_instant(last + width * n, width, now) for n in range(1 - bucket_count, 2)]
    return list(pairwise(edges))


#: A table, a name in _KINDS, and a bucket.
_CountKey = tuple[type[SimpleTask], str, _Span]
_SampleKey = tuple[type[SimpleTask], _Span]
_Samples = dict[_SampleKey, list[tuple[Any, ...]]]
_K = TypeVar("_K", _CountKey, _SampleKey)
_V = TypeVar("_V")


def _figures(
    scope: QueryScope, spans: list[_Span], using: str, roots: list[type[SimpleTask]]
) -> tuple[dict[_CountKey, int], _Samples]:
    # If the database fails in between, nothing of it is reported: half of it would be wrong.
    begin = min(begin for begin, _end in spans)
    active, unblocking = _active_tables(scope, using, roots, begin)
    counts = _count(scope, using, active, spans)
    non_empty = {(root, span): None for (root, _name, span), number in counts.items() if number}
    measure = partial(_measure, scope, using, unblocking)
    return counts, _cached(_sample_cache, scope, using, [*non_empty], measure)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank of ``share`` (0.5: the median) of sorted ``values``; None without any."""
    if not values:
        return None
    return values[min(len(values) - 1, max(0, round(share * len(values) + 0.5) - 1))]


def _active_tables(
    scope: QueryScope, using: str, roots: list[type[SimpleTask]], begin: datetime
) -> tuple[list[type[SimpleTask]], set[type[SimpleTask]]]:
    """The tables in which a task has finished since ``begin``, and those with unblocked tasks."""
    # Ordered like the index: otherwise a database may decide to scan the table.
    outcomes = {
        root: scope.events(root, using)
        .filter(kind=_KIND, event_time__gte=begin)
        .order_by("-event_time")
        .values_list("kind")
        for root in roots
    }
    queries = {
        (root, kind): BoundQuery(rows, {"kind": kind})
        for root, rows in outcomes.items()
        for kind in chain.from_iterable(_KINDS.values())
    }
    unblocks = {
        (root, EventKind.UNBLOCK): BoundQuery(
            scope.events(root, using).filter(kind=EventKind.UNBLOCK).values_list("kind")
        )
        for root in roots
    }
    rows_by_query = first_rows(using, queries | unblocks, 1)
    found = [key for key, rows in rows_by_query.items() if rows]
    finished = {root for root, kind in found if kind is not EventKind.UNBLOCK}
    return [r for r in roots if r in finished], {r for r, k in found if k is EventKind.UNBLOCK}


def _count(
    scope: QueryScope, using: str, roots: list[type[SimpleTask]], spans: list[_Span]
) -> dict[_CountKey, int]:
    """The numbers of events by table, name and bucket."""
    keys = [(root, name, span) for root in roots for name in _KINDS for span in spans]
    return _cached(_count_cache, scope, using, keys, partial(_count_events, scope, using))


def _count_events(scope: QueryScope, using: str, keys: list[_CountKey]) -> dict[_CountKey, int]:
    outcomes = {
        (root, name): scope.events(root, using)
        .filter(kind__in=_KINDS[name], event_time__gte=_BEGIN, event_time__lt=_END)
        .order_by()
        .values_list("pk")
        for root, name in dict.fromkeys((root, name) for root, name, _span in keys)
    }
    queries = {
        (root, name, span): BoundQuery(outcomes[root, name], {"begin": span[0], "end": span[1]})
        for root, name, span in keys
    }
    return capped_counts(using, queries, MAX_COUNTED)


def _cached(
    cache: LocMemCache,
    scope: QueryScope,
    using: str,
    keys: list[_K],
    read: Callable[[list[_K]], dict[_K, _V]],
) -> dict[_K, _V]:
    """What ``read`` returns for ``keys``; that of buckets that have ended may be from the cache."""
    now = machine_now()
    digests = {root: scope.digest(root, using) for root in dict.fromkeys(key[0] for key in keys)}
    ended = [key for key in keys if key[-1][1] < now - _CACHEABLE_AFTER]
    names = {
        key: _cache_key(using, digest, key)
        for key in ended
        if (digest := digests[key[0]]) is not None
    }
    cached = cache.get_many(names.values())
    found = {key: cached[name] for key, name in names.items() if name in cached}
    new = read([key for key in keys if key not in found])
    # Which rows a user may see changes, and so do rows; events do not.
    is_lasting = cache is _count_cache
    old = {k for k in names if is_lasting and not digests[k[0]] and k[-1][1] < now - _OLD_AFTER}
    for seconds, is_old in ((_CACHE_SECONDS, False), (_OLD_CACHE_SECONDS, True)):
        values = {names[k]: v for k, v in new.items() if k in names and (k in old) is is_old}
        cache.set_many(values, seconds)
    return found | new


def _cache_key(using: str, digest: str, key: _CountKey | _SampleKey) -> str:
    """The cache key for what is read of a bucket in a scope with this ``digest``."""
    root, *names, span = key
    # Each tenant may have its own schema, behind the same alias.
    place = (using, getattr(connections[using], "schema_name", ""), root._meta.db_table, digest)
    return ":".join(map(str, (*place, *names, *(moment.timestamp() for moment in span))))


def _measure(
    scope: QueryScope,
    using: str,
    unblocking: set[type[SimpleTask]],
    keys: list[_SampleKey],
) -> _Samples:
    """The newest finished tasks of these buckets."""
    tasks = {
        root: scope.rows(root, using)
        .filter(_ended_by_task(root, using), done_time__gte=_BEGIN, done_time__lt=_END)
        .order_by("-done_time")
        .values_list(
            "attempt", _WAIT, _DURATION, _was_blocked(root, using) if root in unblocking else _NO
        )
        for root in {root for root, _span in keys}
    }
    queries = {
        (root, span): BoundQuery(tasks[root], {"begin": span[0], "end": span[1]})
        for root, span in keys
    }
    return first_rows(using, queries, SAMPLE_SIZE)


def _ended_by_task(root: type[SimpleTask], using: str) -> Any:
    """Tasks whose task function ended: the run time of dropped tasks is unknown."""
    drops = events_of(root, using).filter(
        task=models.OuterRef("pk"), kind=EventKind.DROP, event_time=models.OuterRef("done_time")
    )
    return models.Q(status=Status.SUCCESS) | models.Q(~models.Exists(drops), status=Status.FAILED)


def _was_blocked(root: type[SimpleTask], using: str) -> Any:
    unblocks = events_of(root, using).filter(task=models.OuterRef("pk"), kind=EventKind.UNBLOCK)
    return models.Exists(unblocks)


def _add_durations(bucket: TimeBucket, row: tuple[Any, ...]) -> None:
    attempt, wait, duration, was_blocked = row
    if duration is None:
        return
    bucket.runs.append(max(0.0, duration.total_seconds()))
    # The row holds neither how long a later attempt waited nor how long a task was blocked.
    if attempt == 1 and not was_blocked:
        bucket.waits.append(max(0.0, wait.total_seconds()))


def _wall_time(instant: datetime, width: timedelta) -> datetime:
    """``instant`` without a zone, by the clock that buckets of ``width`` follow."""
    return timezone.make_naive(instant, _zone(width)) if timezone.is_aware(instant) else instant


def _instant(wall_time: datetime, width: timedelta, now: datetime) -> datetime:
    """The instant of ``wall_time``, as aware as ``now``."""
    if not timezone.is_aware(now):
        return wall_time
    return timezone.make_aware(wall_time, _zone(width)).astimezone(UTC)


def _zone(width: timedelta) -> tzinfo:
    """Days begin at midnight where the user is; shorter buckets do not skip or repeat an hour."""
    return UTC if width <= _HOUR else timezone.get_current_timezone()


def _align(moment: datetime, width: timedelta) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // width * width

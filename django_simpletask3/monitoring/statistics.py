"""Statistics of a period for charts: numbers of finished tasks, waiting times and run times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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

# No event is added to a bucket that ended so long ago. It is counted again after ten minutes, as
# events may have been pruned.
_CACHEABLE_AFTER = timedelta(hours=1)
_count_cache = LocMemCache(__name__, {"TIMEOUT": 600, "OPTIONS": {"MAX_ENTRIES": 20_000}})

_KINDS = {"succeeded": (EventKind.ACK,), "failed": (EventKind.FAIL, EventKind.DROP)}


class Period(StrEnum):
    """A period up to now, divided into buckets."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_BUCKETS = {
    Period.HOUR: (60, timedelta(minutes=1)),
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
        total = self.succeeded + self.failed
        return self.failed / total if total else None


def time_buckets(
    period: Period, scope: QueryScope | None = None, *, now: datetime | None = None
) -> list[TimeBucket]:
    """The buckets of ``period`` until ``now``, oldest first, over the tables in ``scope``.

    Buckets are aligned to hours and days of UTC; the last one is not over yet. Each bucket of each
    table is counted by the index of kind and time, hundreds of them in one query: three queries per
    database for a handful of active tables, whatever their size.
    """
    bucket_count, width = _BUCKETS[period]
    now = now or timezone.now()
    last = _align(now, width)
    buckets = [
        TimeBucket(last - width * n, last - width * (n - 1)) for n in reversed(range(bucket_count))
    ]
    scope = scope or QueryScope()
    for counts, samples in scope.query_databases(partial(_figures, scope, buckets)):
        for bucket in buckets:
            bucket.counts += counts.get(bucket.begin, Counter())
            for row in samples.get(bucket.begin, ()):
                _add_durations(bucket, row)
    for bucket in buckets:
        bucket.waits.sort()
        bucket.runs.sort()
    return buckets


#: A table, a name in _KINDS, and the begin of a bucket.
_CountKey = tuple[type[SimpleTask], str, datetime]
#: The counts and the samples of one database, by the begin of their bucket.
_DatabaseFigures = tuple[dict[datetime, Counter[str]], dict[datetime, list[tuple[Any, ...]]]]


def _figures(
    scope: QueryScope, buckets: list[TimeBucket], using: str, roots: list[type[SimpleTask]]
) -> _DatabaseFigures:
    # If the database fails in between, nothing of it is reported: half of it would be wrong.
    active, unblocking = _active_tables(scope, using, roots, buckets[0].begin)
    counts = _count(scope, using, active, buckets)
    counts_by_begin: dict[datetime, Counter[str]] = {}
    for (_root, name, begin), number in counts.items():
        counts_by_begin.setdefault(begin, Counter())[name] += number
    non_empty = {(root, begin): None for (root, _name, begin), number in counts.items() if number}
    samples: dict[datetime, list[tuple[Any, ...]]] = {}
    for (_root, begin), rows in _measure(
        scope, using, list(non_empty), buckets, unblocking
    ).items():
        samples.setdefault(begin, []).extend(rows)
    return counts_by_begin, samples


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
    scope: QueryScope, using: str, roots: list[type[SimpleTask]], buckets: list[TimeBucket]
) -> dict[_CountKey, int]:
    """The numbers of events by table, name and bucket, cached for buckets of long ago."""
    bucket_by_key = {(root, name, b.begin): b for root in roots for name in _KINDS for b in buckets}
    # A number that depends on what a user may see is not shared with other users.
    cache_keys = {
        key: _cache_key(using, key[0], key[1], bucket)
        for key, bucket in bucket_by_key.items()
        if key[0] not in scope.visible_rows and bucket.end < timezone.now() - _CACHEABLE_AFTER
    }
    cached_counts = _count_cache.get_many(cache_keys.values())
    counts = {key: cached_counts[name] for key, name in cache_keys.items() if name in cached_counts}
    uncached = {key: bucket for key, bucket in bucket_by_key.items() if key not in counts}
    new_counts = _count_events(scope, using, uncached)
    _count_cache.set_many(
        {cache_keys[key]: number for key, number in new_counts.items() if key in cache_keys}
    )
    return counts | new_counts


def _count_events(
    scope: QueryScope, using: str, buckets: dict[_CountKey, TimeBucket]
) -> dict[_CountKey, int]:
    outcomes = {
        (root, name): scope.events(root, using)
        .filter(kind__in=_KINDS[name], event_time__gte=_BEGIN, event_time__lt=_END)
        .order_by()
        .values_list("pk")
        for root, name in dict.fromkeys((root, name) for root, name, _begin in buckets)
    }
    queries = {
        (root, name, begin): BoundQuery(outcomes[root, name], {"begin": begin, "end": bucket.end})
        for (root, name, begin), bucket in buckets.items()
    }
    return capped_counts(using, queries, MAX_COUNTED)


def _cache_key(using: str, root: type[SimpleTask], name: str, bucket: TimeBucket) -> str:
    """The cache key for the number of events ``name`` in a bucket."""
    # Each tenant may have its own schema, behind the same alias.
    place = (using, getattr(connections[using], "schema_name", ""), root._meta.db_table)
    return ":".join(map(str, (*place, name, bucket.begin.timestamp(), bucket.end.timestamp())))


def _measure(
    scope: QueryScope,
    using: str,
    non_empty: list[tuple[type[SimpleTask], datetime]],
    buckets: list[TimeBucket],
    unblocking: set[type[SimpleTask]],
) -> dict[tuple[type[SimpleTask], datetime], list[tuple[Any, ...]]]:
    """The newest finished tasks of the buckets that are not empty."""
    ends = {bucket.begin: bucket.end for bucket in buckets}
    tasks = {
        root: scope.rows(root, using)
        .filter(_ended_by_task(root, using), done_time__gte=_BEGIN, done_time__lt=_END)
        .order_by("-done_time")
        .values_list(
            "attempt", _WAIT, _DURATION, _was_blocked(root, using) if root in unblocking else _NO
        )
        for root in {root for root, _begin in non_empty}
    }
    queries = {(r, b): BoundQuery(tasks[r], {"begin": b, "end": ends[b]}) for r, b in non_empty}
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


def _align(moment: datetime, width: timedelta) -> datetime:
    utc = moment.astimezone(UTC) if timezone.is_aware(moment) else moment
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (utc - midnight) // width * width

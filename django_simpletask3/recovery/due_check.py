"""Read the earliest lease end and due time of the task tables, in one query per database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db.models.functions import Coalesce

from .. import control
from ..conf.options import generation
from ..db import clock
from ..db.limited_queries import FixedQuery, first_rows
from ..ledger.task_row import has_expiry
from ..limits import maintenance as limits
from ..models.queryset import rows_of, waiting_by_check_at
from ..models.task import SimpleTask
from ..schedules.tables import has_schedules_table, sum_of_marks
from ..states import WAITING, Status

_EXPIRING, _LIMITS, _SCHEDULES = "expiring", "limits", "schedules"
#: Of a part of the query: a table and a status, a part of the limits, or the commands.
_Key = tuple[type[SimpleTask], Status] | str | None


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The earliest lease end and due time of a database's tasks; None if there is none.

    ``command_time`` is when the oldest operator command in force was given; None if there is none,
    or if commands were not read. ``expiring_check_at`` is of tasks that may expire before they
    start: PENDING and BLOCKED ones of models that subclass ExpiringTask. These BLOCKED ones count
    for ``pending_check_at``, too: to leave them out, all of them might have to be read.
    ``limit_time`` is when the first place of a limit ends; in the past if a gate is to be served.
    ``schedules_mark`` differs if a schedule was changed; None if there is none.
    ``waiting`` has what ``pending_check_at`` is the earliest of, by table.
    """

    using: str
    running_check_at: datetime | None
    pending_check_at: datetime | None
    command_time: datetime | None = None
    expiring_check_at: datetime | None = None
    limit_time: datetime | None = None
    schedules_mark: datetime | None = None
    waiting: Mapping[type[SimpleTask], datetime] = field(default_factory=dict)

    def is_due(self, status: Status) -> bool:
        """Whether a task in ``status`` is due, by the database clock as it was last read."""
        is_running = status is Status.RUNNING
        return self._is_past(self.running_check_at if is_running else self.pending_check_at)

    @property
    def due_tables(self) -> set[type[SimpleTask]]:
        """The tables, as their models, in which a task that waits is due."""
        return {root for root, check_at in self.waiting.items() if self._is_past(check_at)}

    @property
    def may_have_expired(self) -> bool:
        """Whether a task may have expired, by the database clock as it was last read."""
        return self._is_past(self.expiring_check_at)

    @property
    def may_serve_limits(self) -> bool:
        """Whether a place of a limit may have ended, or a gate is to be served."""
        return self._is_past(self.limit_time)

    def _is_past(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= clock.now(self.using)


def read_due_times(
    using: str,
    roots: Iterable[type[SimpleTask]],
    *,
    with_commands: bool = False,
) -> DueTimes:
    """Read the due times of these tables in ``using``, each by its index of ``check_at``.

    ``with_commands`` reads the operator commands in the same query.
    """
    roots = tuple(roots)
    with_schedules = bool(roots) and has_schedules_table(using)
    queries: dict[_Key, Any] = {
        **_fixed_queries(using, roots, with_schedules, with_commands, generation())
    }
    if roots:
        queries.update(limits.due_queries(using))
    earliest: dict[Status | str | None, datetime] = {}
    waiting: dict[type[SimpleTask], datetime] = {}
    for key, rows in first_rows(using, queries, 1).items():
        for name in _names(key):
            for moment in (moment for (moment,) in rows if moment is not None):
                earliest[name] = min(moment, earliest.get(name, moment))
                if isinstance(key, tuple) and name is Status.PENDING:
                    waiting[key[0]] = moment
    return DueTimes(
        using,
        running_check_at=earliest.get(Status.RUNNING),
        pending_check_at=earliest.get(Status.PENDING),
        command_time=earliest.get(None),
        expiring_check_at=earliest.get(_EXPIRING),
        limit_time=earliest.get(_LIMITS),
        schedules_mark=earliest.get(_SCHEDULES),
        waiting=waiting,
    )


@lru_cache(maxsize=100)
def _fixed_queries(
    using: str,
    roots: tuple[type[SimpleTask], ...],
    with_schedules: bool,
    with_commands: bool,
    _generation: int,
) -> dict[_Key, FixedQuery]:
    """The queries of the tables, schedules and commands: an idle node asks them for ever."""
    queries: dict[_Key, Any] = dict(_row_queries(using, roots))
    if with_schedules:
        queries[_SCHEDULES] = sum_of_marks(using)
    if with_commands:
        queries[None] = control.command_times(using)
    return {key: FixedQuery(query) for key, query in queries.items()}


def _names(key: _Key) -> Iterator[Status | str | None]:
    """The names of the due times to which the rows of one part of the query belong."""
    if isinstance(key, str):
        yield key if key == _SCHEDULES else _LIMITS
        return
    yield key[1] if key else None
    if key and key[1] is Status.PENDING and has_expiry(key[0]):
        yield _EXPIRING


def _row_queries(
    using: str, roots: Iterable[type[SimpleTask]]
) -> Iterator[tuple[tuple[type[SimpleTask], Status], Any]]:
    """The first due time per table and status; each query is fast by the plan that it gets.

    A million tasks may wait for a later time, or be overdue, and none run
    (test_future_rows_are_not_read_to_find_those_that_are_due,
    test_overdue_rows_are_not_read_to_find_those_that_run).
    """
    for root in roots:
        rows = rows_of(root, using)
        statuses = sorted(WAITING) if has_expiry(root) else [Status.PENDING]
        waiting = waiting_by_check_at(rows, statuses).order_by("check_at")
        # By the index of the status: no index of check_at has the order of an expression.
        running = rows.filter(status__by_index=Status.RUNNING)
        running = running.filter(check_at__isnull=False)
        running = running.order_by(Coalesce("check_at", "check_at"))
        yield (root, Status.RUNNING), running.values_list("check_at")
        yield (root, Status.PENDING), waiting.values_list("check_at")

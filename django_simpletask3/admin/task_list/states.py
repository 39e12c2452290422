"""The states by which a list of tasks is filtered: their rows and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.formats import number_format

from ...db.limited_queries import capped_counts
from ...ledger.fields import IsTimed
from ...models.task import SimpleTask
from ...states import Status
from ...transitions.transition import latest_check_time
from ..html.pills import State, state_of

_STATUS_BY_STATE = {
    State.BLOCKED: Status.BLOCKED,
    State.RUNNING: Status.RUNNING,
    State.SUCCEEDED: Status.SUCCESS,
    State.FAILED: Status.FAILED,
    State.CANCELED: Status.CANCELED,
}
_ALL, _PENDING = "all", "pending"


def state_of_status(number: str) -> State | None:
    """The state of a stored status, if it has just one: PENDING is waiting or scheduled."""
    return next((s for s, status in _STATUS_BY_STATE.items() if str(int(status)) == number), None)


def condition_of(state: State, now: datetime) -> Q:
    """The condition of the rows that are in ``state`` at ``now``."""
    if state is State.WAITING:
        # By the index of check_at: those that wait for a later time are not read.
        is_due = Q(run_after__isnull=True) | Q(run_after__lte=now)
        is_waiting = Q(status__without_index=Status.PENDING) & Q(IsTimed("check_at"))
        return is_waiting & Q(check_at__lte=latest_check_time(now)) & is_due
    if state is State.SCHEDULED:
        return Q(status=Status.PENDING, run_after__gt=now)
    return Q(status=_STATUS_BY_STATE[state])


@dataclass(frozen=True, slots=True)
class Count:
    """A number of tasks; if it ``is_more``, there are at least so many."""

    number: int
    is_more: bool = False

    def __str__(self) -> str:
        """Empty if there may be any number of them."""
        if self.is_more and not self.number:
            return ""
        text = number_format(self.number, use_l10n=True, force_grouping=True)
        return f"{text}+" if self.is_more else text


#: The number of tasks by state; that of all is under None.
Counts = Mapping[State | None, Count]


def count_rows(rows: QuerySet[Any], now: datetime, limit: int) -> Counts:
    """How many of ``rows`` are in each state, at most ``limit`` each; one statement."""
    rows = rows.order_by()
    conditions: dict[str, Q] = {_ALL: Q(), _PENDING: Q(status=Status.PENDING)}
    conditions |= {s: condition_of(s, now) for s in (State.WAITING, *_STATUS_BY_STATE)}
    queries = {
        key: rows.filter(condition).values_list("pk") for key, condition in conditions.items()
    }
    found = capped_counts(rows.db, queries, limit + 1)
    counts: dict[State | None, Count] = {s: _capped(found[s], limit) for s in _STATUS_BY_STATE}
    waiting = _capped(found[State.WAITING], limit)
    counts |= {None: _capped(found[_ALL], limit), State.WAITING: waiting}
    counts[State.SCHEDULED] = _scheduled(_capped(found[_PENDING], limit), waiting)
    return counts


def count_tasks(tasks: Iterable[SimpleTask], now: datetime) -> Counts:
    """How many of ``tasks``, which are all that there are, are in each state."""
    states = [state_of(task.status, task.run_after, now) for task in tasks]
    numbers = Counter(states)
    return {None: Count(len(states)), **{state: Count(numbers[state]) for state in State}}


def _capped(number: int, limit: int) -> Count:
    return Count(min(number, limit), number > limit)


def _scheduled(pending: Count, waiting: Count) -> Count:
    """Those of ``pending`` that are not ``waiting``: to count them, all of these might be read."""
    number = 0 if waiting.is_more else max(pending.number - waiting.number, 0)
    return Count(number, pending.is_more)

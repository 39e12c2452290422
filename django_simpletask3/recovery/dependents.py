"""Serve the dependents of tasks that have ended, where no process did it after its commit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial

from django.db import transaction
from django.db.models import Q

from ..db.conflicts import repeat_on_conflict
from ..db.limited_queries import FixedQuery, first_rows
from ..db.loading import pks_by_key
from ..db.locks import begin_write
from ..dependencies.cleanup import delete_unused
from ..dependencies.counting import link_state, lock_statuses
from ..dependencies.participant import mark_ends
from ..dependencies.serving import serve
from ..dependencies.tables import (
    GroupState,
    LinkState,
    OnFailure,
    TaskPrerequisite,
    groups_of,
    has_prerequisite_models,
    links_of,
    links_to_count,
    model_of,
)
from ..ledger.task_row import all_rows
from ..models.each_database import in_each_database
from ..models.registry import task_databases
from ..states import Status

_BATCH_SIZE = 500


class DependentsJob:
    """The maintenance job that releases and cancels dependents; it goes on while there are some."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_more = False

    def run(self) -> int:
        """Serve dependents for some seconds; how many prerequisites and dependents were served.

        No query is made in a project whose tasks cannot wait for others.
        """
        if not has_prerequisite_models():
            return 0
        latest = time.monotonic() + self._seconds
        counts = in_each_database(partial(_serve_in, seconds=self._seconds), task_databases())
        self._has_more = time.monotonic() >= latest
        return sum(counts.values())

    def needed_in(self) -> float:
        """Seconds after which the next run is needed; infinity if its interval is early enough."""
        return 0.0 if self._has_more else math.inf


def _serve_in(using: str, seconds: float) -> int:
    """Serve in one database; if nothing is to be served, that is one query without a lock."""
    found = first_rows(using, _queries_of_work(using), 1)
    return serve(using, seconds=seconds) if any(found.values()) else 0


@lru_cache(maxsize=100)
def _queries_of_work(using: str) -> dict[str, FixedQuery]:
    to_serve = groups_of(using).filter(state=GroupState.TO_BE_SERVED)
    queries = {"links": links_to_count(using), "groups": to_serve}
    return {name: FixedQuery(rows.values_list("pk")) for name, rows in queries.items()}


def delete_unused_groups(may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete what is left of dependents that were deleted, in all databases; how many dependents.

    Goes on until ``may_go_on`` is false.
    """
    if not has_prerequisite_models():
        return 0
    work = partial(delete_unused, may_go_on=may_go_on)
    return sum(in_each_database(work, task_databases()).values())


def count_missed_ends(may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Count the ends of prerequisites that were recorded by nodes which did not count them.

    In their code no task could wait for these, yet or any more. In all databases; returns how many
    prerequisites. Goes on until ``may_go_on`` is false.
    """
    if not has_prerequisite_models():
        return 0
    work = partial(_count_missed, may_go_on=may_go_on)
    return sum(in_each_database(work, task_databases()).values())


def _count_missed(using: str, may_go_on: Callable[[], bool]) -> int:
    waits = Q(group__on_failure=OnFailure.WAIT) & ~Q(group__state=GroupState.SERVED)
    uncounted = links_of(using).filter(Q(state=LinkState.OPEN) | Q(waits, state=LinkState.FAILED))
    count, after_id = 0, 0
    while may_go_on():
        page = list(uncounted.filter(id__gt=after_id).order_by("id")[:_BATCH_SIZE])
        if missed := _missed(page, _read_statuses(page, using)):
            count += repeat_on_conflict(using, partial(_mark_missed, missed, using))
        if len(page) < _BATCH_SIZE:
            break
        after_id = page[-1].pk
    return count


def _missed(
    links: Iterable[TaskPrerequisite], statuses: Mapping[tuple[str, str], Status | None]
) -> list[TaskPrerequisite]:
    """Those of ``links`` that do not say how their tasks, of these ``statuses``, have ended."""
    return [
        link
        for link in links
        if (key := (link.model, link.task_key)) in statuses
        and link_state(statuses[key]) not in (LinkState.OPEN, link.state)
    ]


def _read_statuses(
    links: Sequence[TaskPrerequisite], using: str
) -> dict[tuple[str, str], Status | None]:
    statuses: dict[tuple[str, str], Status | None] = {}
    for label in {link.model for link in links}:
        if (root := model_of(label)) is None:
            continue
        keys = [link.task_key for link in links if link.model == label]
        rows = all_rows(root, using).filter(pk__in=pks_by_key(root, keys).values())
        found = {str(pk): status for pk, status in rows.values_list("pk", "status")}
        statuses |= {(label, key): found.get(key) for key in keys}
    return statuses


def _mark_missed(links: Sequence[TaskPrerequisite], using: str) -> int:
    """Mark the ends of ``links``, whose tasks are locked: one may be reset at the same time."""
    with transaction.atomic(using=using):
        begin_write(TaskPrerequisite, using)
        statuses = lock_statuses(links, using)
        missed = _missed(links, statuses)
        for label in {link.model for link in missed}:
            keys = [link.task_key for link in missed if link.model == label]
            ended = {key: link_state(statuses[label, key]) for key in keys}
            mark_ends(links_of(using).filter(model=label), ended)
    return len(missed)


def serve_all(seconds: float = math.inf) -> int:
    """Serve the dependents in all databases; how many prerequisites and dependents were served."""
    return DependentsJob(seconds).run()

"""What is running now, by worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import CharField
from django.db.models.functions import Cast

from ...db.limited_queries import first_rows
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...monitoring.scope import QueryScope

#: Rows of each table that are looked at: those that have been running for the longest.
MAX_PER_TABLE = 100


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that is running: which one, where, since when."""

    model: type[SimpleTask]
    database: str
    pk: str
    worker: str
    since: datetime | None


def running_by_worker(scope: QueryScope) -> dict[str, list[RunningTask]]:
    """What each worker runs, the longest first; one statement per database."""
    tasks_by_worker: dict[str, list[RunningTask]] = {}
    for tasks in scope.query_databases(partial(_running_tasks, scope)):
        for task in tasks:
            tasks_by_worker.setdefault(task.worker, []).append(task)
    return tasks_by_worker


def _running_tasks(
    scope: QueryScope, using: str, roots: list[type[SimpleTask]]
) -> list[RunningTask]:
    key = Cast("pk", CharField(max_length=255))
    queries = {
        root: scope.restrict(rows_of(root, using), root, using)
        .running()
        .order_by("start_time")
        .values_list(key, "worker", "start_time")
        for root in roots
    }
    return [
        RunningTask(root, using, str(_pk_field(root).to_python(text)), worker, since)
        for root, rows in first_rows(using, queries, MAX_PER_TABLE).items()
        for text, worker, since in rows
    ]


def _pk_field(root: type[SimpleTask]) -> Any:
    return root._meta.pk

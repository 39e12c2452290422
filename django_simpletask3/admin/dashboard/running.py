"""The running tasks of each worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ...db.limited_queries import first_rows, key_as_text, parse_key
from ...models.task import SimpleTask
from ...monitoring.scope import QueryScope

#: Rows read of each table: the longest running.
MAX_PER_TABLE = 100


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A running task, with its database and start time."""

    model: type[SimpleTask]
    database: str
    pk: str
    worker: str
    since: datetime | None


def running_by_worker(scope: QueryScope) -> dict[str, list[RunningTask]]:
    """The running tasks of each worker, the longest running first; one statement per database."""
    tasks_by_worker: dict[str, list[RunningTask]] = {}
    for tasks in scope.query_databases(partial(_running_tasks, scope)):
        for task in tasks:
            tasks_by_worker.setdefault(task.worker, []).append(task)
    return tasks_by_worker


def _running_tasks(
    scope: QueryScope, using: str, roots: list[type[SimpleTask]]
) -> list[RunningTask]:
    queries = {
        root: scope.rows(root, using)
        .running()
        .order_by("start_time")
        .values_list(key_as_text("pk"), "worker", "start_time")
        for root in roots
    }
    tasks = [
        RunningTask(root, using, parse_key(root, text), worker, since)
        for root, rows in first_rows(using, queries, MAX_PER_TABLE).items()
        for text, worker, since in rows
    ]
    keys = {r: scope.visible_keys(r, using, {t.pk for t in tasks if t.model is r}) for r in roots}
    return [task for task in tasks if task.pk in keys[task.model]]

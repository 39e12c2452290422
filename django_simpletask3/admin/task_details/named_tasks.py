"""The tasks that the dashboard names: what runs on each worker, and the states of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.utils.safestring import SafeString
from django.utils.text import capfirst

from ...db import clock
from ...db.limited_queries import first_rows, key_as_text, parse_key
from ...db.loading import pks_by_key
from ...models.task import SimpleTask
from ...monitoring.scope import QueryScope
from ..html.pills import State, state_of
from ..viewer import Viewer

#: Rows read of each table: the longest running.
MAX_PER_TABLE = 100
#: Rows read of each table of those that are named by their keys.
_MAX_NAMED = 500
#: Keys beyond that are no keys of a table, and SQLite cannot compare with them.
_MAX_NUMBER = 2**63


class TaskKey(NamedTuple):
    """The table, the database and the key, as text, of a task."""

    model: type[SimpleTask]
    database: str
    pk: str


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A running task, with its worker and start time."""

    key: TaskKey
    worker: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Present:
    """What a task is now, and since when if it has ended."""

    state: State
    done_time: datetime | None


def running_by_worker(scope: QueryScope) -> dict[str, list[RunningTask]]:
    """The running tasks of each worker, the longest running first; one statement per database."""
    tasks_by_worker: dict[str, list[RunningTask]] = {}
    for tasks in scope.query_databases(partial(_running_tasks, scope)):
        for task in tasks:
            tasks_by_worker.setdefault(task.worker, []).append(task)
    return tasks_by_worker


def present_states(
    scope: QueryScope, keys: Iterable[TaskKey], unchecked: Iterable[TaskKey] = ()
) -> dict[TaskKey, Present]:
    """What ``keys``, and those of ``unchecked`` that count, are now; a statement per database.

    Where a function decides row by row, ``keys`` are of rows that count.
    """
    checked = frozenset(keys)
    wanted, states = checked.union(unchecked), dict[TaskKey, Present]()
    for found in scope.query_databases(partial(_present_states, scope, wanted, checked)):
        states |= found
    return states


def task_link(viewer: Viewer, key: TaskKey) -> SafeString | str:
    """A link to the page of a task: "Invoice 12"."""
    # A task in another database than its pages show has a label that names it.
    name = f"{capfirst(key.model._meta.verbose_name)} {key.pk}"
    is_elsewhere = key.database != viewer.page_database(key.model)
    return viewer.link(*key, text="" if is_elsewhere else name)


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
        RunningTask(TaskKey(root, using, parse_key(root, text)), worker, since)
        for root, rows in first_rows(using, queries, MAX_PER_TABLE).items()
        for text, worker, since in rows
    ]
    keys = {root: {t.key.pk for t in tasks if t.key.model is root} for root in roots}
    visible = {root: scope.visible_keys(root, using, pks) for root, pks in keys.items()}
    return [task for task in tasks if task.key.pk in visible[task.key.model]]


def _present_states(
    scope: QueryScope,
    keys: frozenset[TaskKey],
    checked: frozenset[TaskKey],
    using: str,
    roots: list[type[SimpleTask]],
) -> dict[TaskKey, Present]:
    texts = {root: sorted(k.pk for k in keys if k[:2] == (root, using)) for root in roots}
    pks = {root: _pks(root, of_table[:_MAX_NAMED]) for root, of_table in texts.items()}
    queries = {
        root: scope.rows(root, using)
        .filter(pk__in=of_table)
        .order_by()
        .values_list(key_as_text("pk"), "status", "run_after", "done_time")
        for root, of_table in pks.items()
        if of_table
    }
    if not queries:
        return {}
    now, states = clock.now(using), dict[TaskKey, Present]()
    for root, rows in first_rows(using, queries, _MAX_NAMED).items():
        found = {
            TaskKey(root, using, parse_key(root, text)): Present(state, done_time)
            for text, status, run_after, done_time in rows
            if (state := state_of(status, run_after, now)) is not None
        }
        unchecked = {key.pk for key in found if key not in checked}
        visible = scope.visible_keys(root, using, unchecked)
        states |= {k: task for k, task in found.items() if k in checked or k.pk in visible}
    return states


def _pks(root: type[SimpleTask], keys: list[str]) -> list[Any]:
    """The primary keys of texts of which some may come from Redis."""
    pks = pks_by_key(root, keys).values()
    return [pk for pk in pks if "\x00" not in str(pk) and not _is_too_large(pk)]


def _is_too_large(pk: object) -> bool:
    return isinstance(pk, int) and abs(pk) >= _MAX_NUMBER

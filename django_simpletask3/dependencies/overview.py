"""What a task waits for, and what waits for it, for people: counts, and some keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q, QuerySet

from ..ledger.task_row import TaskRow, table_model, write_database
from ..states import Status
from .loading import load_by_key
from .prerequisites import FAILED
from .tables import (
    DependentState,
    LinkState,
    OnFailure,
    dependents_of,
    key_of,
    links_of,
    may_be_prerequisite,
)

#: Label of the table's model, and key.
Key = tuple[str, str]

#: The first failed prerequisites, of which the rows are read.
_MAX_FAILED = 500
_NOT_FAILED = tuple(status for status in Status if status not in FAILED)


@dataclass(frozen=True, slots=True)
class WaitsFor:
    """The group that a task waits, or has waited, for."""

    group_id: int
    using: str
    missing: int
    failed: int
    total: int
    is_waiting: bool
    on_failure: str

    def first_keys(self, limit: int) -> list[Key]:
        """The first prerequisites: those that have not ended come first."""
        links = links_of(self.using).filter(group=self.group_id).order_by("state", "id")
        return list(links.values_list("model", "task_key")[:limit])

    def first_failed(self) -> TaskRow | None:
        """The first prerequisite that is FAILED or CANCELED now, with its error; None if none is.

        At most four queries.
        """
        keys = self._failed_keys()
        tasks = load_by_key(keys, self.using, with_results=True, status__in=FAILED)
        return next((tasks[key] for key in keys if key in tasks), None)

    def _failed_keys(self) -> list[Key]:
        links = links_of(self.using).filter(group=self.group_id, state=LinkState.FAILED)
        return list(links.order_by("id").values_list("model", "task_key")[:_MAX_FAILED])

    def without_reset(self) -> WaitsFor:
        """With those in ``failed`` only that have not been reset since, if it waits for these."""
        if not self.failed or self.on_failure != OnFailure.WAIT:
            return self
        again = load_by_key(self._failed_keys(), self.using, status__in=_NOT_FAILED)
        return replace(self, failed=max(0, self.failed - len(again)))


def read_waits_for(task: TaskRow) -> WaitsFor | None:
    """The group of ``task``; None if it was not saved after others.

    Two queries at most, and a few more if it waits for failed ones to succeed.
    """
    using = write_database(task)
    dependent = _own(dependents_of(using), task).select_related("group").first()
    if dependent is None:
        return None
    return WaitsFor(
        dependent.group_id,
        using,
        dependent.group.missing,
        dependent.group.failed,
        links_of(using).filter(group=dependent.group_id).count(),
        dependent.state == DependentState.WAITING,
        dependent.group.on_failure,
    ).without_reset()


@dataclass(frozen=True, slots=True)
class Dependents:
    """The tasks that wait, or have waited, for one."""

    total: int
    first_keys: list[Key]


def read_dependents(task: TaskRow, limit: int) -> Dependents:
    """How many tasks wait, or have waited, for ``task``, and the first of them; two queries.

    None are made for a model that tasks cannot wait for.
    """
    if not may_be_prerequisite(type(task)):
        return Dependents(0, [])
    using = write_database(task)
    groups = _own(links_of(using), task).values("group")
    dependents = dependents_of(using).filter(group__in=groups).order_by("state", "id")
    keys = list(dependents.values_list("model", "task_key")[:limit])
    return Dependents(dependents.count() if len(keys) == limit else len(keys), keys)


#: The groups that count the failure of a task, by the key of the task.
FailedGroups = Mapping[str, frozenset[int]]


def failed_groups(tasks: Sequence[TaskRow]) -> FailedGroups:
    """The groups in which the failure of one of ``tasks``, of one table, is counted; one query."""
    if not tasks:
        return {}
    label, using = table_model(type(tasks[0]))._meta.label, write_database(tasks[0])
    keys = [key_of(task) for task in tasks]
    failed = links_of(using).filter(model=label, task_key__in=keys, state=LinkState.FAILED)
    groups: dict[str, frozenset[int]] = {}
    for key, group in failed.values_list("task_key", "group"):
        groups[key] = groups.get(key, frozenset()) | {group}
    return groups


def count_reset_dependents(tasks: Sequence[TaskRow], groups: FailedGroups) -> tuple[int, int]:
    """How many dependents wait again for ``tasks``, which were reset with their dependents.

    And how many have run after the failure, and stay as they are. ``groups`` were read before the
    reset.
    """
    ids = {group for task in tasks for group in groups.get(key_of(task), ())}
    if not ids:
        return 0, 0
    dependents = dependents_of(write_database(tasks[0])).filter(group__in=ids)
    is_canceling = Q(group__on_failure=OnFailure.CANCEL)
    waits = is_canceling & Q(state__in=(DependentState.CANCELED, DependentState.WAITING))
    has_run = Q(group__on_failure=OnFailure.RUN, state=DependentState.RELEASED)
    return dependents.filter(waits).count(), dependents.filter(has_run).count()


def _own(rows: QuerySet[Any], task: TaskRow) -> QuerySet[Any]:
    return rows.filter(model=table_model(type(task))._meta.label, task_key=key_of(task))

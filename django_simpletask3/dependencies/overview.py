"""What a task waits for, and what waits for it, for people: counts, and some keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from ..ledger.task_row import TaskRow, table_model, write_database
from .tables import DependentState, dependents_of, key_of, links_of, may_be_prerequisite

#: Label of the table's model, and key.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class WaitsFor:
    """The group that a task waits, or has waited, for."""

    group_id: int
    using: str
    missing: int
    failed: int
    total: int
    is_waiting: bool

    def first_keys(self, limit: int) -> list[Key]:
        """The first prerequisites: those that have not ended come first."""
        links = links_of(self.using).filter(group=self.group_id).order_by("state", "id")
        return list(links.values_list("model", "task_key")[:limit])


def read_waits_for(task: TaskRow) -> WaitsFor | None:
    """The group of ``task``; None if it was not saved after others. At most two queries."""
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
    )


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


def _own(rows: QuerySet[Any], task: TaskRow) -> QuerySet[Any]:
    return rows.filter(model=table_model(type(task))._meta.label, task_key=key_of(task))

"""Where a task waits for a place of its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from ..conf.priorities import nearest_priority
from ..db.limited_queries import capped_counts
from ..db.locks import begin_write
from ..ledger.task_row import TaskRow, all_rows, table_model, write_database
from .declared import limit_of
from .places import table_label
from .tables import LimitPlace, LimitWaiter

#: Others that are counted before a task, or that hold places.
MAX_COUNT = 1000


@dataclass(frozen=True, slots=True)
class PlaceInLine:
    """How many tasks wait before a task, and how many places of its limit are taken.

    ``running`` is how many places there are; None if only the rate counts. ``next_start_at`` is
    when the rate lets the next one start, if it is that they wait for.
    """

    limit: str
    before: int
    taken: int
    running: int | None
    next_start_at: datetime | None


def place_in_line(task: TaskRow) -> PlaceInLine | None:
    """Where ``task`` waits for its limit; None if it does not. Two queries, or one."""
    using = write_database(task)
    waiters = all_rows(LimitWaiter, using)
    own = waiters.filter(model=table_label(task), task_key=str(task.pk))
    waiter = own.select_related("gate").first()
    if waiter is None:
        return None
    at_gate = waiters.filter(gate=waiter.gate_id)
    places = all_rows(LimitPlace, using).filter(gate=waiter.gate_id, number__isnull=False)
    queries = {
        "before": at_gate.filter(_is_before(waiter)).values_list("pk"),
        "taken": places.values_list("pk"),
    }
    counts = capped_counts(using, queries, MAX_COUNT)
    gate = waiter.gate
    limit = limit_of(task)
    return PlaceInLine(
        gate.name,
        before=counts["before"],
        taken=counts["taken"],
        running=limit.running if limit else None,
        next_start_at=gate.next_start_at,
    )


def save_with_rank(task: TaskRow, using: str, save: Callable[[], object]) -> None:
    """Call ``save``, which writes the priority of ``task``, and let it wait by that. Its own row.

    In one transaction.
    """
    with transaction.atomic(using=using):
        begin_write(LimitWaiter, using)
        save()
        rows = all_rows(table_model(type(task)), using).filter(pk=task.pk)
        for priority in rows.values_list("priority", flat=True):  # it may be an expression
            waiters = all_rows(LimitWaiter, using)
            own = waiters.filter(model=table_label(task), task_key=str(task.pk))
            own.update(rank=-nearest_priority(priority))


def _is_before(waiter: LimitWaiter) -> Q:
    """The condition of those that get a place before ``waiter``."""
    names = ("rank", "turn", "add_time", "pk")
    condition, equal = Q(), Q()
    for name in names:
        condition |= equal & Q(**{f"{name}__lt": getattr(waiter, name)})
        equal &= Q(**{name: getattr(waiter, name)})
    return condition

"""Which task enqueued which: the parent and the children of a task."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections, router

from ..db.loading import load_tasks
from ..ledger.task_row import table_model, task_reference
from .queryset import rows_of
from .registry import databases_of, table_models
from .task import SimpleTask


def parent_of(task: SimpleTask) -> SimpleTask | None:
    """The task whose function enqueued ``task``; None if there is none, or it is gone."""
    return task_by_reference(task.parent or "")


def task_by_reference(reference: str) -> SimpleTask | None:
    """The task with this ``task_reference``, as it was saved; None if it is gone."""
    location, _, key = reference.partition(":")
    label, _, alias = location.partition("@")
    try:
        root: Any = apps.get_model(label)
        using = alias or router.db_for_write(root)
        pk = root._meta.pk.to_python(key)
    except (LookupError, ValueError, ValidationError):
        return None
    if not issubclass(root, SimpleTask) or using not in connections:
        return None
    return next(iter(load_tasks(table_model(root), using, [pk])), None)


def children_of(task: SimpleTask) -> Iterator[SimpleTask]:
    """The tasks that the function of ``task`` enqueued, of any model, oldest first within each.

    One indexed query per table of tasks, sent when the iterator reaches the table.
    """
    reference = task_reference(task)
    for root in table_models():
        for using in databases_of(root):
            pks = rows_of(root, using).filter(parent=reference).order_by("pk").values_list("pk")
            yield from sorted(
                load_tasks(root, using, [pk for (pk,) in pks]), key=attrgetter("add_time")
            )

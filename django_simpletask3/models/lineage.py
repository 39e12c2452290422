"""Which task enqueued which: from a task to the one whose body saved it, and the other way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections, router

from ..ledger.task_row import name_of, root_of
from .loading import as_saved
from .queryset import rows_of
from .registry import databases_of, roots
from .task import SimpleTask


def parent_of(task: SimpleTask) -> SimpleTask | None:
    """The task whose body enqueued ``task``; None if there is none, or it is gone."""
    return task_named(task.parent or "")


def task_named(name: str) -> SimpleTask | None:
    """The task that ``name_of`` has called ``name``, as it was saved; None if it is gone."""
    place, _, key = name.partition(":")
    label, _, alias = place.partition("@")
    try:
        root: Any = apps.get_model(label)
        using = alias or router.db_for_write(root)
        pk = root._meta.pk.to_python(key)
    except (LookupError, ValueError, ValidationError):
        return None
    if not issubclass(root, SimpleTask) or using not in connections:
        return None
    return next(iter(as_saved(root_of(root), using, [pk])), None)


def children_of(task: SimpleTask) -> Iterator[SimpleTask]:
    """The tasks that the body of ``task`` enqueued, of any model, oldest first within each.

    One indexed query per table of tasks, read as they are asked for.
    """
    name = name_of(task)
    for root in roots():
        for using in databases_of(root):
            pks = rows_of(root, using).filter(parent=name).order_by("pk").values_list("pk")
            yield from sorted(as_saved(root, using, [pk for (pk,) in pks]), key=_age)


def _age(task: SimpleTask) -> Any:
    return task.add_time

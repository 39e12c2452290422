"""Load tasks by their keys, as the models that they were saved as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

from django.apps import apps
from django.db import models

from ..db.postgresql.reader import rows_without_outcomes
from ..ledger.event import events_of
from ..ledger.task_row import TaskRow, all_rows, table_model
from ..states import EventKind
from .tables import model_of


def load_by_key(
    keys: Iterable[tuple[str, str]], using: str, *, with_results: bool = False, **conditions: Any
) -> dict[tuple[str, str], TaskRow]:
    """The tasks of which ``keys`` has label and key; those that do not exist are left out.

    One query for each table, and one more for a table with several models. Results are loaded when
    they are first used, unless ``with_results`` is true. ``conditions`` are of ``filter()``.
    """
    by_label: dict[str, list[str]] = {}
    for label, key in keys:
        by_label.setdefault(label, []).append(key)
    rows_of = partial(all_rows if with_results else rows_without_outcomes, using=using)
    tasks = {}
    for label, texts in by_label.items():
        if (root := model_of(label)) is not None:
            pks = list(map(root._meta.pk.to_python, texts))
            for task in _load(root, using, pks, lambda model: rows_of(model).filter(**conditions)):
                tasks[label, str(task.pk)] = task
    return tasks


def _load(
    root: type[TaskRow],
    using: str,
    pks: Sequence[Any],
    rows_of: Callable[[type[TaskRow]], models.QuerySet[Any]],
) -> list[TaskRow]:
    by_model = _by_saved_model(root, using, pks)
    tasks = [
        task
        for model, of_model in by_model.items()
        for task in rows_of(model).filter(pk__in=of_model)
    ]
    if len(tasks) < len(pks) and by_model.keys() != {root}:
        # The row of a child was deleted, and not that of its parent.
        missing = set(pks) - {task.pk for task in tasks}
        tasks += rows_of(root).filter(pk__in=missing)
    return tasks


def _by_saved_model(
    root: type[TaskRow], using: str, pks: Sequence[Any]
) -> dict[type[TaskRow], list[Any]]:
    if len(candidates := _models_of(root)) == 1:
        return {root: list(pks)}
    labels = _saved_labels(root, using, pks)
    by_model: dict[type[TaskRow], list[Any]] = {}
    for pk in pks:
        by_model.setdefault(candidates.get(labels.get(pk, ""), root), []).append(pk)
    return by_model


@lru_cache(maxsize=1000)
def _models_of(root: type[TaskRow]) -> dict[str, type[TaskRow]]:
    found: list[Any] = [model for model in apps.get_models() if issubclass(model, TaskRow)]
    return {model._meta.label: model for model in found if table_model(model) is root}


def _saved_labels(root: type[TaskRow], using: str, pks: Sequence[Any]) -> dict[Any, str]:
    enqueue_events: models.QuerySet[Any, Any] = events_of(root, using).filter(
        task__in=pks, kind=EventKind.ENQUEUE
    )
    return {
        pk: (data or {}).get("model", "")
        for pk, data in enqueue_events.values_list("task_id", "data")
    }

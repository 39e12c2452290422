"""Load tasks by their keys, as the models that they were saved as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.db import models

from ..db.postgresql.reader import rows_without_outcomes
from ..ledger.event import events_of
from ..ledger.task_row import TaskRow, table_model
from ..states import EventKind
from .tables import model_of


def load_by_key(keys: Iterable[tuple[str, str]], using: str) -> dict[tuple[str, str], TaskRow]:
    """The tasks of which ``keys`` has label and key, without results; some may not exist.

    One query for each table, and one more for a table with several models.
    """
    by_label: dict[str, list[str]] = {}
    for label, key in keys:
        by_label.setdefault(label, []).append(key)
    return {
        (label, str(task.pk)): task
        for label, texts in by_label.items()
        if (root := model_of(label)) is not None
        for task in _load(root, using, list(map(root._meta.pk.to_python, texts)))
    }


def _load(root: type[TaskRow], using: str, pks: Sequence[Any]) -> list[TaskRow]:
    by_model: dict[type[TaskRow], list[Any]] = {root: list(pks)}
    if len(models := _models_of(root)) > 1:
        labels = _saved_labels(root, using, pks)
        by_model = {}
        for pk in pks:
            by_model.setdefault(models.get(labels.get(pk, ""), root), []).append(pk)
    loaded = [
        task
        for model, of_model in by_model.items()
        for task in rows_without_outcomes(model, using).filter(pk__in=of_model)
    ]
    if len(loaded) < len(pks) and len(by_model) > 1:
        # A row of a child may be missing.
        missing = set(pks) - {task.pk for task in loaded}
        loaded += rows_without_outcomes(root, using).filter(pk__in=missing)
    return loaded


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

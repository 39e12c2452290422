"""Load rows as instances, by their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError

from ..ledger.event import events_of
from ..ledger.task_row import TaskRow, all_rows, table_model
from ..states import EventKind
from .postgresql.reader import reader_for, rows_without_outcomes

#: Loads the rows of a model with these keys as its instances.
Load = Callable[[type[Any], str, Sequence[Any]], list[Any]]


def models_by_label(root: type[TaskRow]) -> dict[str, type[Any]]:
    """The task models whose rows stand in the table of ``root``, by label; ``root`` is one."""
    models: list[Any] = [model for model in apps.get_models() if issubclass(model, TaskRow)]
    of_table = [model for model in models if table_model(model) is root]
    return {model._meta.label: model for model in sorted(of_table, key=lambda m: m._meta.label)}


def pks_by_key(root: type[TaskRow], keys: Iterable[str]) -> dict[str, Any]:
    """The primary keys of these ``keys``, which are texts.

    Keys of another type, which the model had before, are left out: no task has them.
    """
    pks: dict[str, Any] = {}
    for key in keys:
        with suppress(ValidationError, TypeError, ValueError):
            pks[key] = root._meta.pk.to_python(key)
    return pks


def load_instances(model: type[TaskRow], using: str, pks: Sequence[Any]) -> list[Any]:
    """The rows of ``model`` with these keys, in any order, without managers that may hide some.

    Results are loaded when they are first used.
    """
    reader = reader_for(model, using)
    if reader is None:
        return list(rows_without_outcomes(model, using).filter(pk__in=pks))
    # Plain ones: what is too large for the column is not there, and no error.
    keys = [model._meta.pk.get_prep_value(pk) for pk in pks]
    with reader.cursor() as cursor:
        cursor.execute(reader.sql, [keys])
        rows = reader.values(cursor.fetchall())
    return [model.from_db(using, reader.names, row) for row in rows]


def load_tasks(
    root: type[TaskRow], using: str, pks: Iterable[Any], load: Load = load_instances
) -> list[Any]:
    """The tasks, in the order of their keys, as instances of the models they were saved as.

    Results are read when they are asked for, unless another ``load`` reads the rows.

    A proxy shares its table with others: the last ``enqueue`` event has the model that was saved. A
    row that no longer exists as that model (a child row was deleted) is an instance of ``root``.
    """
    pks = list(pks)
    by_model: dict[type[TaskRow], list[Any]] = {}
    for pk, model in saved_models(root, using, pks).items():
        by_model.setdefault(model, []).append(pk)
    tasks = [task for m, keys in by_model.items() for task in load(m, using, keys)]
    if orphans := {pk for model, keys in by_model.items() if model is not root for pk in keys}:
        orphans -= {task.pk for task in tasks}
        tasks += load(root, using, list(orphans)) if orphans else []
    positions = {pk: position for position, pk in enumerate(pks)}
    return sorted(tasks, key=lambda task: positions.get(task.pk, len(pks)))


def saved_models(root: type[TaskRow], using: str, pks: Iterable[Any]) -> dict[Any, type[TaskRow]]:
    """The models that tasks were saved as, by their keys; one query where there may be several.

    The one with the table if the rows themselves say it: to load them is to find out.
    """
    pks = list(pks)
    labels = _saved_labels(root, using, pks)
    candidates = models_by_label(root)
    return {pk: candidates.get(labels.get(pk, ""), root) for pk in pks}


def models_of_rows(root: type[TaskRow], using: str, pks: Sequence[Any]) -> dict[Any, type[TaskRow]]:
    """The models of which ``load_tasks`` returns instances, by key, without loading these.

    A row that has gone may be missing.
    """
    if len(models_by_label(root)) == 1:
        return dict.fromkeys(pks, root)
    if root._model_columns:
        rows = all_rows(root, using).filter(pk__in=pks).only("pk", *root._model_columns)
        return {row.pk: type(row) for row in rows}
    models = saved_models(root, using, pks)
    by_child_table: dict[Any, list[Any]] = {}
    for pk, model in models.items():
        by_child_table.setdefault(model._meta.concrete_model, []).append(pk)
    by_child_table.pop(root, None)
    for child, keys in by_child_table.items():
        found = set(all_rows(child, using).filter(pk__in=keys).values_list("pk", flat=True))
        models |= {pk: root for pk in keys if pk not in found}
    return models


def _saved_labels(root: type[TaskRow], using: str, pks: list[object]) -> dict[object, str]:
    if root._model_columns or len(models_by_label(root)) == 1:
        return {}
    enqueue_events = events_of(root, using).filter(task__in=pks, kind=EventKind.ENQUEUE)
    return {
        pk: (data or {}).get("model", "")
        for pk, data in enqueue_events.values_list("task_id", "data")
    }

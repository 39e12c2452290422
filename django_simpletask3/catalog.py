"""The task models of this project, and the databases that hold their rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.db import Error, connections, router

from .events import events_of
from .instances import Reading, blank, instances
from .models import SimpleTask
from .states import EventKind
from .task_row import home_of, root_of

_logger = logging.getLogger(__name__)

#: Seconds for which it is remembered which database has which table, and is no replica.
_REMEMBERED = 300.0
#: What databases said that were asked for a table and did not answer.
_unanswered: dict[tuple[str, str], str] = {}
_READ_ONLY_SQL = {"postgresql": "SELECT pg_is_in_recovery()", "mysql": "SELECT @@global.read_only"}


def task_models() -> list[type[SimpleTask]]:
    """Every concrete task model, proxies and multi-table children among them, by label."""
    found = [model for model in apps.get_models() if issubclass(model, SimpleTask)]
    return sorted(found, key=lambda model: model._meta.label)


def roots(chosen: Iterable[type[SimpleTask]] | None = None) -> list[type[SimpleTask]]:
    """The models that have a table of states, each once."""
    found = task_models() if chosen is None else chosen
    return sorted({root_of(model) for model in found}, key=lambda model: model._meta.label)


def variants(root: type[SimpleTask]) -> dict[str, type[SimpleTask]]:
    """The task models whose rows stand in the table of ``root``, by label; ``root`` is one."""
    return {model._meta.label: model for model in task_models() if root_of(model) is root}


def databases_of(model: type[SimpleTask]) -> list[str]:
    """The databases that may hold tasks of ``model``: the one the router writes to comes first.

    The others are those where ``save(using=...)`` may have put one; replicas are left alone.
    """
    preferred = router.db_for_write(model)
    others = [alias for alias in connections if alias != preferred and _may_hold(model, alias)]
    return [preferred, *others]


def tables(chosen: Iterable[type[SimpleTask]] | None = None) -> dict[str, list[type[SimpleTask]]]:
    """The tables of tasks in each database, as the models that have them."""
    found: dict[str, list[type[SimpleTask]]] = {}
    for root in roots(chosen):
        for using in databases_of(root):
            found.setdefault(using, []).append(root)
    return found


def unanswered(chosen: Iterable[type[SimpleTask]] | None = None) -> dict[str, str]:
    """The databases of which it could not be told whether they hold such tasks, with their errors.

    As ``tables(chosen)`` has found last; it has left them out.
    """
    names = {root._meta.db_table for root in roots(chosen)}
    asked = list(_unanswered.items())
    return {alias: error for (alias, table), error in asked if table in names}


def _may_hold(model: type[SimpleTask], alias: str) -> bool:
    if not router.allow_migrate_model(alias, model) or _is_mirror(alias):
        return False
    table = model._meta.db_table
    try:
        found = _has_table(alias, table, int(time.monotonic() / _REMEMBERED))
    except Error as error:
        # Asked again at the next pass: an answer is remembered, a failure is not.
        _logger.warning("database_unreachable database=%s error=%s", alias, error)
        _unanswered[alias, table] = str(error) or type(error).__name__
        return False
    _unanswered.pop((alias, table), None)
    return found


def _is_mirror(alias: str) -> bool:
    return bool(connections[alias].settings_dict.get("TEST", {}).get("MIRROR"))


@lru_cache(maxsize=1000)
def _has_table(alias: str, table: str, _period: int) -> bool:
    connection = connections[alias]
    if question := _READ_ONLY_SQL.get(connection.vendor):
        with connection.cursor() as cursor:
            cursor.execute(question)
            if cursor.fetchone()[0]:
                return False
    return table in connection.introspection.table_names()


def as_saved(root: type[SimpleTask], using: str, pks: Iterable[Any]) -> list[SimpleTask]:
    """The tasks, in the order of their keys, as instances of the models they were saved as.

    Results are read when they are asked for.

    A proxy shares its table with others: the stream tells what was saved, at the last birth. What
    is no longer there as that model (a child row was deleted) is an instance of ``root``.
    """
    pks = list(pks)
    by_model: dict[type[SimpleTask], list[Any]] = {}
    for pk, model in saved_models(root, using, pks).items():
        by_model.setdefault(model, []).append(pk)
    tasks = [task for model, keys in by_model.items() for task in instances(model, using, keys)]
    orphans = [pk for model, keys in by_model.items() if model is not root for pk in keys]
    found = {task.pk for task in tasks}
    if orphans := [pk for pk in orphans if pk not in found]:
        tasks += instances(root, using, orphans)
    places = {pk: place for place, pk in enumerate(pks)}
    return sorted(tasks, key=lambda task: places.get(task.pk, len(pks)))


def blank_of(model: type[SimpleTask], using: str, pk: Any) -> tuple[SimpleTask, Reading] | None:
    """An instance for the task of this key, which says nothing else yet, and how to read its row.

    None if only its row, or its stream, can tell of which model it is to be, or how it is read, and
    if the router looks for it elsewhere than in ``using``.
    """
    if root_of(model) is not model or len(variants(model)) > 1:
        return None
    found = blank(model, using, pk)
    return found if found is not None and home_of(found[0]) == using else None


def saved_models(
    root: type[SimpleTask], using: str, pks: Iterable[Any]
) -> dict[Any, type[SimpleTask]]:
    """The models that tasks were saved as, by their keys; one query where there may be several."""
    pks = list(pks)
    labels = _birth_labels(root, using, pks)
    family = variants(root)
    return {pk: family.get(labels.get(pk, ""), root) for pk in pks}


def _birth_labels(root: type[SimpleTask], using: str, pks: list[Any]) -> dict[Any, str]:
    if len(variants(root)) == 1:
        return {}
    births = events_of(root, using).filter(task__in=pks, kind=EventKind.ENQUEUE)
    return {pk: (data or {}).get("model", "") for pk, data in births.values_list("task_id", "data")}

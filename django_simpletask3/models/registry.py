"""The task models of this project, and the databases that hold their rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import lru_cache

from django.apps import apps
from django.db import Error, connections, router

from ..db.errors import error_text
from ..db.tables import has_table
from ..ledger.task_row import table_model
from ..logs import get_logger
from .task import SimpleTask

_logger = get_logger(__name__)

#: Seconds for which it is remembered which database has which table, and is no replica.
_CACHE_SECONDS = 300.0
#: What databases said that were asked for a table and did not answer.
_unreachable: dict[tuple[str, str], str] = {}
_READ_ONLY_SQL = {"postgresql": "SELECT pg_is_in_recovery()", "mysql": "SELECT @@global.read_only"}


def task_models() -> list[type[SimpleTask]]:
    """Every concrete task model, proxies and multi-table children among them, by label."""
    models = [model for model in apps.get_models() if issubclass(model, SimpleTask)]
    return sorted(models, key=lambda model: model._meta.label)


def table_models(selection: Iterable[type[SimpleTask]] | None = None) -> list[type[SimpleTask]]:
    """The models that have a table of states, each once."""
    models = task_models() if selection is None else selection
    return sorted({table_model(model) for model in models}, key=lambda model: model._meta.label)


def databases_of(model: type[SimpleTask]) -> list[str]:
    """The databases that may hold tasks of ``model``: the one the router writes to comes first.

    The others are those where ``save(using=...)`` may have put one; replicas are left alone.
    """
    preferred = router.db_for_write(model)
    others = [alias for alias in connections if alias != preferred and _may_hold(model, alias)]
    return [preferred, *others]


def holds(model: type[SimpleTask], using: str) -> bool:
    """Whether ``using`` is one of ``databases_of(model)``; queries no other database."""
    return using == router.db_for_write(model) or _may_hold(model, using)


def each_table(
    selection: Iterable[type[SimpleTask]] | None = None,
) -> Iterator[tuple[type[SimpleTask], str]]:
    """Each task table, as the model that has it, with each database that may hold it."""
    by_database = models_by_database(selection)
    for root in table_models(selection):
        preferred = router.db_for_write(root)
        for using in sorted(by_database, key=lambda alias: alias != preferred):
            if root in by_database[using]:
                yield root, using


def models_by_database(
    selection: Iterable[type[SimpleTask]] | None = None,
) -> dict[str, list[type[SimpleTask]]]:
    """The tables of tasks in each database, as the models that have them."""
    by_database = {using: tables_in(using, selection) for using in task_databases(selection)}
    return {using: tables for using, tables in by_database.items() if tables}


def task_databases(selection: Iterable[type[SimpleTask]] | None = None) -> list[str]:
    """The databases where routers and settings let task tables be; queries none of them."""
    roots = table_models(selection)
    return [alias for alias in connections if any(may_live_in(root, alias) for root in roots)]


def tables_in(
    using: str, selection: Iterable[type[SimpleTask]] | None = None
) -> list[type[SimpleTask]]:
    """The models whose tables are in ``using``; queries no other database.

    If it does not answer, it is not asked for the rest: only those models are listed that the
    router writes there.
    """
    tables, is_reachable = [], True
    for root in table_models(selection):
        if using == router.db_for_write(root):
            tables.append(root)
        elif is_reachable and may_live_in(root, using):
            answer = _ask_for_table(root, using)
            is_reachable = answer is not None
            tables += [root] if answer else []
    return tables


def unreachable_databases(selection: Iterable[type[SimpleTask]] | None = None) -> dict[str, str]:
    """The errors of databases that did not answer when their task tables were last listed."""
    names = {root._meta.db_table for root in table_models(selection)}
    errors = list(_unreachable.items())
    return {alias: error for (alias, table), error in errors if table in names}


def may_live_in(model: type[SimpleTask], alias: str) -> bool:
    """Whether routers and settings let rows of ``model`` be in ``alias``; queries no database."""
    if alias not in connections:
        return False
    root = table_model(model)
    is_allowed = router.allow_migrate_model(alias, root) and not is_mirror(alias)
    return is_allowed or alias == router.db_for_write(root)


def possible_databases(model: type[SimpleTask]) -> list[str]:
    """The databases where routers and settings let rows of ``model`` be; queries none of them."""
    return [alias for alias in connections if may_live_in(model, alias)]


def _may_hold(model: type[SimpleTask], alias: str) -> bool:
    return may_live_in(model, alias) and _ask_for_table(model, alias) is True


def _ask_for_table(model: type[SimpleTask], alias: str) -> bool | None:
    """Whether ``alias`` has the table and is no replica; None if it does not answer."""
    table = model._meta.db_table
    try:
        is_here = _has_writable_table(model, alias, int(time.monotonic() / _CACHE_SECONDS))
    except Error as error:
        # Queried again at the next run: an answer is cached, a failure is not.
        _logger.warning("database_unreachable database=%s error=%s", alias, error)
        _unreachable[alias, table] = error_text(error)
        return None
    _unreachable.pop((alias, table), None)
    return is_here


def is_mirror(alias: str) -> bool:
    """Whether tests use another database in the place of ``alias``."""
    return bool(connections[alias].settings_dict.get("TEST", {}).get("MIRROR"))


@lru_cache(maxsize=1000)
def _has_writable_table(model: type[SimpleTask], alias: str, _period: int) -> bool:
    connection = connections[alias]
    if sql := _READ_ONLY_SQL.get(connection.vendor):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.fetchone()[0]:
                return False
    return has_table(model, alias)

"""Execute statements of one row with a cursor that is kept for the next one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from types import FunctionType
from typing import Any

import django

_ATTRIBUTE = "_simpletask3_cursor"
#: Characters in the parameters of a statement up to which its cursor, which holds them, is kept.
_MAX_KEPT_LENGTH = 10_000
#: The methods that make a cursor. A backend or a tool with one of its own may do more each time:
#: choose a schema or a user, trace the statement.
_NAMES = frozenset(
    {
        *("cursor", "_cursor", "create_cursor", "_prepare_cursor"),
        *("make_cursor", "make_debug_cursor"),
    }
)


def execute(connection: Any, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Execute ``sql`` as a cursor of ``connection.cursor()`` does; returns the rows.

    To make a cursor, and to close it, takes Python a fifth of the time of a statement, so one is
    kept for as long as the session, if a new one would be made just as Django does.
    """
    if not _may_keep_cursor(connection):
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    if connection.health_check_enabled:
        connection.close_if_health_check_failed()
    connection.ensure_connection()
    # Taken away meanwhile: another thread may execute a statement, too.
    kept = vars(connection).pop(_ATTRIBUTE, None)
    with connection.wrap_database_errors:
        if kept is None or kept.connection is not connection.connection:
            kept = connection.create_cursor()
        connection._prepare_cursor(kept).execute(sql, parameters)
        rows = kept.fetchall()
    if sum([len(value) for value in parameters if hasattr(value, "__len__")]) <= _MAX_KEPT_LENGTH:
        vars(connection)[_ATTRIBUTE] = kept
    return rows


def _may_keep_cursor(connection: Any) -> bool:
    """Whether a cursor of ``connection`` is one of Django's, and nothing else.

    A wrapper of statements may execute others, or none: then an old result would be read.
    """
    if connection.execute_wrappers or connection.closed_in_transaction:
        return False
    is_patched = not _NAMES.isdisjoint(vars(connection))
    return not is_patched and _methods_of(type(connection)) == _methods_of_django()


#: The methods of a class that make a cursor, as it has them now: a tool may replace one.
_methods_of: Callable[[type], tuple[Any, ...]] = attrgetter(*_NAMES)


@cache
def _methods_of_django() -> tuple[Any, ...]:
    from django.db.backends.postgresql.base import DatabaseWrapper  # needs a driver

    # In the place of one that a tool has replaced: what no class has.
    methods = _methods_of(DatabaseWrapper)
    return tuple(method if is_of_django(method) else object() for method in methods)


def is_of_django(method: Any) -> bool:
    """Whether a method is written in Django, and no tool has wrapped it."""
    folder = django.__path__[0] + os.sep
    return type(method) is FunctionType and method.__code__.co_filename.startswith(folder)

"""Rows as instances, by their keys: of PostgreSQL, the question is worded once for each model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections

from .querysets import TaskQuerySet
from .spoken import is_plain

if TYPE_CHECKING:
    from .models import SimpleTask

#: What may be large is read when somebody asks for it.
_LATER = ("result_data", "error_data")


def instances(model: type[SimpleTask], using: str, pks: Sequence[Any]) -> list[Any]:
    """The rows of ``model`` with these keys, in any order, past managers that may hide some.

    Results are read when they are asked for.
    """
    question = _question(model, using) if connections[using].vendor == "postgresql" else None
    if question is None:
        return list(_rows(model, using).filter(pk__in=pks))
    connection = connections[using]
    # Plain ones: what is too large for the column is not there, and no error.
    keys = [model._meta.pk.get_prep_value(pk) for pk in pks]
    with connection.cursor() as cursor:
        _read_moments_fast(cursor, connection)
        cursor.execute(question.sql, [keys])
        rows = [question.read(row, connection) for row in cursor.fetchall()]
    return [model.from_db(using, question.names, row) for row in rows]


def _read_moments_fast(cursor: Any, connection: Any) -> None:
    """Let psycopg's own loader read them, which is one in C mostly: a twelfth of the time.

    Django's does the same in Python; it also takes the zone off where times are naive.
    """
    from django.db.backends.postgresql import psycopg_any

    if psycopg_any.is_psycopg3 and connection.timezone is not None:
        cursor.adapters.register_loader("timestamptz", _moments())


@cache
def _moments() -> Any:
    import psycopg

    loaders, kinds = psycopg.adapters, psycopg.adapters.types
    return loaders.get_loader(kinds["timestamptz"].oid, psycopg.pq.Format.TEXT)


class _Question(NamedTuple):
    """A statement that is told many keys as one value, and how its answers are read."""

    sql: str
    names: list[str]
    converters: list[tuple[int, Sequence[Any], Any]]

    def read(self, row: Sequence[Any], connection: Any) -> list[Any]:
        """``row`` as Django reads it."""
        values = list(row)
        for place, converters, column in self.converters:
            for convert in converters:
                values[place] = convert(values[place], column, connection)
        return values


@lru_cache(maxsize=1000)
def _question(model: type[SimpleTask], using: str) -> _Question | None:
    """How to ask for rows of ``model``; None if only Django knows how to ask, or how to read."""
    key: Any = model._meta.pk
    words = connections[using].ops
    compiler: Any = _rows(model, using).order_by().query.get_compiler(using)
    sql, params = compiler.as_sql()
    columns = [column for column, *_ in compiler.select]
    # What a database reads by itself (geometries) may be for one thread only.
    if params or not is_plain(key) or any(map(words.get_db_converters, columns)):
        return None
    place = f"{words.quote_name(model._meta.db_table)}.{words.quote_name(key.column)}"
    converters = compiler.get_converters(columns)
    return _Question(
        sql=f"{sql} WHERE {place} = ANY(%s)",
        names=[column.target.attname for column in columns],
        converters=[(place, told, column) for place, (told, column) in converters.items()],
    )


def _rows(model: type[SimpleTask], using: str) -> TaskQuerySet[Any]:
    return TaskQuerySet(model, using=using).defer(*_LATER)

"""Read rows by their keys on PostgreSQL: one statement per model, built once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from django.db import connections, models

from ...ledger.task_row import TaskRow, all_rows
from .json_parameters import is_json_safe

#: Columns that may be large are read when they are first used.
_DEFERRED_COLUMNS = ("result_data", "error_data")


class RowReader(NamedTuple):
    """How rows of a model are read: one statement that takes many keys as one parameter.

    ``names`` is how instances call the columns.
    """

    using: str
    sql: str
    names: list[str]
    converters: list[tuple[int, Sequence[Any], Any]]

    def cursor(self) -> Any:
        """A cursor whose rows ``values`` understands; use it in a ``with`` statement.

        psycopg's own loader reads times, mostly in C: in a twelfth of the time of Django's, which
        is written in Python and also removes the zone where times are naive.
        """
        from django.db.backends.postgresql import psycopg_any

        connection: Any = connections[self.using]
        cursor = connection.cursor()
        if psycopg_any.is_psycopg3 and connection.timezone is not None:
            cursor.adapters.register_loader("timestamptz", _timestamp_loader())
        return cursor

    def values(self, rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
        """``rows`` as Django reads them."""
        connection, read = connections[self.using], [list(row) for row in rows]
        for index, converters, column in self.converters:
            for convert in converters:
                for row in read:
                    row[index] = convert(row[index], column, connection)
        return read


@cache
def _timestamp_loader() -> Any:
    import psycopg

    loaders, kinds = psycopg.adapters, psycopg.adapters.types
    return loaders.get_loader(kinds["timestamptz"].oid, psycopg.pq.Format.TEXT)


def reader_for(model: type[TaskRow], using: str) -> RowReader | None:
    """The reader of ``model``; None if only Django can query or read its rows."""
    return _build_reader(model, using) if connections[using].vendor == "postgresql" else None


@lru_cache(maxsize=1000)
def _build_reader(model: type[TaskRow], using: str) -> RowReader | None:
    key: Any = model._meta.pk
    operations = connections[using].ops
    compiler: Any = rows_without_outcomes(model, using).order_by().query.get_compiler(using)
    sql, params = compiler.as_sql()
    columns = [column for column, *_ in compiler.select]
    # The converters of a database (geometries) may be for one thread only.
    if params or not is_json_safe(key) or any(map(operations.get_db_converters, columns)):
        return None
    key_sql = f"{operations.quote_name(model._meta.db_table)}.{operations.quote_name(key.column)}"
    converters = compiler.get_converters(columns)
    return RowReader(
        using=using,
        sql=f"{sql} WHERE {key_sql} = ANY(%s)",
        names=[column.target.attname for column in columns],
        converters=[(key_sql, c, column) for key_sql, (c, column) in converters.items()],
    )


def rows_without_outcomes(model: type[TaskRow], using: str) -> models.QuerySet[Any]:
    """All rows of ``model``; result and error are loaded when they are first used."""
    return all_rows(model, using).defer(*_DEFERRED_COLUMNS)

"""Rows as instances, by their keys: of PostgreSQL, the question is worded once for each model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from django.db import connections

from .models import SimpleTask
from .querysets import TaskQuerySet
from .shells import has_shell, shell
from .spoken import is_plain

#: What may be large is read when somebody asks for it.
_LATER = ("result_data", "error_data")


def instances(model: type[SimpleTask], using: str, pks: Sequence[Any]) -> list[Any]:
    """The rows of ``model`` with these keys, in any order, past managers that may hide some.

    Results are read when they are asked for.
    """
    reading = reading_of(model, using)
    if reading is None:
        return list(_rows(model, using).filter(pk__in=pks))
    # Plain ones: what is too large for the column is not there, and no error.
    keys = [model._meta.pk.get_prep_value(pk) for pk in pks]
    with reading.cursor() as cursor:
        cursor.execute(reading.question, [keys])
        rows = [reading.values(row) for row in cursor.fetchall()]
    return [model.from_db(using, reading.names, row) for row in rows]


def blank(model: type[SimpleTask], using: str, pk: Any) -> tuple[Any, Reading] | None:
    """An instance that says nothing but its key, and how its row is read into it.

    None if only Django can read rows of ``model``, if to read one does more than that, or if code
    that is not ours decodes it, and may refuse to.
    """
    reading, from_db = reading_of(model, using), getattr(model.from_db, "__func__", None)
    is_read_as_ours = from_db is SimpleTask.from_db.__func__  # type: ignore[attr-defined]
    if reading is None or not (is_read_as_ours and has_shell(model) and _is_plain(model)):
        return None
    return shell(model, {model._meta.pk.attname: pk}, using), reading


@lru_cache(maxsize=1000)
def _is_plain(model: type[SimpleTask]) -> bool:
    """Whether all columns of ``model`` are what the database says, in words that we know."""
    return all(
        is_plain(field) and getattr(field, "decoder", None) is None
        for field in model._meta.concrete_fields
    )


class Reading(NamedTuple):
    """How rows of a model are read: by a ``question`` that is told many keys as one value.

    ``columns`` is what is read, in the words of SQL for a row that is called ``task`` there, and
    ``names`` what instances call it.
    """

    using: str
    question: str
    columns: str
    names: list[str]
    converters: list[tuple[int, Sequence[Any], Any]]

    def cursor(self) -> Any:
        """One whose rows ``values`` understands; to be used in a ``with`` statement.

        psycopg's own loader reads times, which is one in C mostly: a twelfth of the time. Django's
        does the same in Python; it also takes the zone off where times are naive.
        """
        from django.db.backends.postgresql import psycopg_any

        connection: Any = connections[self.using]
        cursor = connection.cursor()
        if psycopg_any.is_psycopg3 and connection.timezone is not None:
            cursor.adapters.register_loader("timestamptz", _moments())
        return cursor

    def values(self, row: Sequence[Any]) -> list[Any]:
        """``row`` as Django reads it."""
        values, connection = list(row), connections[self.using]
        for place, converters, column in self.converters:
            for convert in converters:
                values[place] = convert(values[place], column, connection)
        return values


@cache
def _moments() -> Any:
    import psycopg

    loaders, kinds = psycopg.adapters, psycopg.adapters.types
    return loaders.get_loader(kinds["timestamptz"].oid, psycopg.pq.Format.TEXT)


def reading_of(model: type[SimpleTask], using: str) -> Reading | None:
    """How to ask for rows of ``model``; None if only Django knows how to ask, or how to read."""
    return _reading(model, using) if connections[using].vendor == "postgresql" else None


@lru_cache(maxsize=1000)
def _reading(model: type[SimpleTask], using: str) -> Reading | None:
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
    return Reading(
        using=using,
        question=f"{sql} WHERE {place} = ANY(%s)",
        columns=", ".join(f"task.{words.quote_name(column.target.column)}" for column in columns),
        names=[column.target.attname for column in columns],
        converters=[(place, told, column) for place, (told, column) in converters.items()],
    )


def _rows(model: type[SimpleTask], using: str) -> TaskQuerySet[Any]:
    return TaskQuerySet(model, using=using).defer(*_LATER)

"""The first rows of several queries, in one statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Value

K = TypeVar("K")

#: Queries in one statement: SQLite takes no more than 500.
_MOST = 450
# Django has made the query, with its values as parameters.
_ROWS = "SELECT {number} AS slice, s{number}.* FROM ({query}) AS s{number}"
_COUNT = "SELECT {number} AS slice, COUNT(*) FROM ({query}) AS s{number}"
_TALLY = "SELECT {number} AS slice, s{number}.*, COUNT(*) FROM ({query}) AS s{number} GROUP BY 2"


def first_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, list[tuple[Any, ...]]]:
    """The first ``most`` rows of each query, by its key; a statement for every 450 of them.

    The queries are ``values_list()`` querysets whose columns are of the same types, or ``Filled``
    ones. Each is limited by itself, so that its index ends the search: Django's own ``union()``
    cannot do that on SQLite.
    """
    found: dict[K, list[tuple[Any, ...]]] = {}
    for together in _batches(queries):
        parts = _parts(using, together, most)
        rows = _asked(using, _ROWS, parts)
        for number, key in enumerate(together):
            raw = rows.get(number)
            # In the values of Python, as Django would give them.
            found[key] = list(map(tuple, parts[number].compiler.results_iter([raw]))) if raw else []
    return found


def counted_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, int]:
    """How many rows each query has, by its key; no more than ``most`` are counted."""
    found: dict[K, int] = {}
    for together in _batches(queries):
        rows = _asked(using, _COUNT, _parts(using, together, most))
        for number, key in enumerate(together):
            found[key] = rows[number][0][0] if number in rows else 0
    return found


def tallied_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, Counter[str]]:
    """How often each text is among the first ``most`` of each query, which has no other column."""
    found: dict[K, Counter[str]] = {}
    for together in _batches(queries):
        rows = _asked(using, _TALLY, _parts(using, together, most))
        for number, key in enumerate(together):
            found[key] = Counter(dict(rows.get(number, ())))
    return found


def _batches(queries: Mapping[K, Any]) -> Iterator[dict[K, Any]]:
    rest = iter(queries.items())
    while together := dict(islice(rest, _MOST)):
        yield together


@dataclass(frozen=True, slots=True)
class _Part:
    """A query in the words of its database."""

    compiler: Any
    sql: str
    params: list[Any]


def _parts(using: str, queries: Mapping[K, Any], most: int) -> dict[int, _Part]:
    """The queries by their numbers, but for those that no row can fit.

    Those that fill the blanks of the same queryset are compiled once.
    """
    compiled: dict[Any, tuple[Any, str, Any] | None] = {}
    parts: dict[int, _Part] = {}
    for number, filled in enumerate(map(Filled.of, queries.values())):
        if filled.query not in compiled:
            compiled[filled.query] = _compiled(using, filled.query[:most])
        if (made := compiled[filled.query]) is not None:
            compiler, sql, params = made
            parts[number] = _Part(compiler, sql, filled.params(params, compiler.connection))
    return parts


def _compiled(using: str, query: Any) -> tuple[Any, str, Any] | None:
    compiler = query.query.get_compiler(using=using)
    try:
        return (compiler, *compiler.as_sql())
    except EmptyResultSet:
        return None


def _asked(using: str, form: str, parts: Mapping[int, _Part]) -> dict[int, list[Any]]:
    """The rows of each query as the database gives them, by the query's number."""
    rows: dict[int, list[Any]] = {}
    if parts:
        texts = [form.format(number=number, query=part.sql) for number, part in parts.items()]
        params = [param for part in parts.values() for param in part.params]
        with connections[using].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(texts), params)
            for number, *row in cursor.fetchall():
                rows.setdefault(number, []).append(tuple(row))
    return rows


class Blank(Value):
    """A value that is said later, by its name; what is compared with it is a column like ``field``.

    It stands in a queryset where the value would: ``rows.filter(kind=Blank("kind", KindField()))``.
    """

    def __init__(self, name: str, field: Any) -> None:
        super().__init__(name, output_field=field)

    def as_sql(self, _compiler: Any, _connection: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        # Not a value that looks unlike any other, but the blank itself: what a database makes of a
        # value, and what else is in the query, cannot hide it, nor be taken for it.
        return "%s", [self]


@dataclass(frozen=True, slots=True)
class Filled:
    """The queryset ``query`` with these ``values`` in its blanks; with none, it has no blanks.

    All that have the very same ``query`` share its SQL.
    """

    query: Any
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Any) -> Filled:
        """``query``, if it is filled; as a queryset without blanks otherwise."""
        return query if isinstance(query, Filled) else cls(query)

    def params(self, given: Iterable[Any], connection: Any) -> list[Any]:
        """The parameters ``given`` by Django, with the values as the database takes them.

        Raises ValueError unless every blank has a value, and every value one blank or several.
        """
        given = list(given)
        blanks = {param.value for param in given if isinstance(param, Blank)}
        if blanks != self.values.keys():
            raise ValueError(f"the blanks are {sorted(blanks)}, but filled are {[*self.values]}")
        return [self._param(param, connection) for param in given]

    def _param(self, param: Any, connection: Any) -> Any:
        if not isinstance(param, Blank):
            return param
        value = self.values[param.value]
        return param.output_field.get_db_prep_value(value, connection=connection)

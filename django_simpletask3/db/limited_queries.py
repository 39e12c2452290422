"""The first rows of several queries, in one statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import CharField, Model, Value
from django.db.models.functions import Cast

from ..batches import batches
from ..ledger.fields import MAX_TEXT

K = TypeVar("K")

#: Queries in one statement: SQLite takes no more than 500.
_MAX_QUERIES = 450
_KEY_TEXT = CharField(max_length=MAX_TEXT)
# Django has made the query, with its values as parameters.
_ROWS = "SELECT {number} AS slice, s{number}.* FROM ({query}) AS s{number}"
_COUNT = "SELECT {number} AS slice, COUNT(*) FROM ({query}) AS s{number}"
_VALUE_COUNT = (
    "SELECT {number} AS slice, s{number}.*, COUNT(*) FROM ({query}) AS s{number} GROUP BY 2"
)


def first_rows(using: str, queries: Mapping[K, Any], limit: int) -> dict[K, list[tuple[Any, ...]]]:
    """The first ``limit`` rows of each query, by its key; one statement for every 450 queries.

    The queries are ``values_list()`` querysets whose columns have the same types, or BoundQuery or
    FixedQuery objects. Each has a limit of its own, so that its index ends the search: Django's
    ``union()`` cannot do that on SQLite.
    """
    rows_by_key: dict[K, list[tuple[Any, ...]]] = {}
    for batch in map(dict, batches(queries.items(), _MAX_QUERIES)):
        compiled_queries = _compile_queries(using, batch, limit)
        rows = _fetch_rows(using, _ROWS, compiled_queries)
        for number, key in enumerate(batch):
            raw_rows = rows.get(number)
            # As Python values, converted by Django.
            rows_by_key[key] = (
                list(map(tuple, compiled_queries[number].compiler.results_iter([raw_rows])))
                if raw_rows
                else []
            )
    return rows_by_key


def capped_counts(using: str, queries: Mapping[K, object], limit: int) -> dict[K, int]:
    """The number of rows of each query, by its key; at most ``limit`` are counted."""
    counts: dict[K, int] = {}
    for batch in map(dict, batches(queries.items(), _MAX_QUERIES)):
        rows = _fetch_rows(using, _COUNT, _compile_queries(using, batch, limit))
        for number, key in enumerate(batch):
            counts[key] = rows[number][0][0] if number in rows else 0
    return counts


def capped_value_counts(using: str, queries: Mapping[K, Any], limit: int) -> dict[K, Counter[str]]:
    """How often each value occurs in the first ``limit`` rows of each query of one column."""
    counts: dict[K, Counter[str]] = {}
    for batch in map(dict, batches(queries.items(), _MAX_QUERIES)):
        rows = _fetch_rows(using, _VALUE_COUNT, _compile_queries(using, batch, limit))
        for number, key in enumerate(batch):
            counts[key] = Counter(dict(rows.get(number, ())))
    return counts


@dataclass(frozen=True, slots=True)
class _CompiledQuery:
    """The SQL of a query and its parameters."""

    compiler: Any
    sql: str
    params: list[Any]


def _compile_queries(using: str, queries: Mapping[K, Any], limit: int) -> dict[int, _CompiledQuery]:
    """The compiled queries by their numbers, without those that cannot have rows.

    BoundQuery objects with the same queryset are compiled once.
    """
    compiled_by_query: dict[Any, tuple[Any, str, Any] | None] = {}
    compiled_queries: dict[int, _CompiledQuery] = {}
    for number, bound in enumerate(map(BoundQuery.of, queries.values())):
        if bound.query not in compiled_by_query:
            compiled_by_query[bound.query] = _compile(using, bound.query, limit)
        if (compiled := compiled_by_query[bound.query]) is not None:
            compiler, sql, params = compiled
            compiled_queries[number] = _CompiledQuery(
                compiler, sql, bound.params(params, compiler.connection)
            )
    return compiled_queries


def _compile(using: str, query: Any, limit: int) -> tuple[Any, str, Any] | None:
    if isinstance(query, FixedQuery):
        return query.compile(using, limit)
    compiler = query[:limit].query.get_compiler(using=using)
    try:
        return (compiler, *compiler.as_sql())
    except EmptyResultSet:
        return None


def _fetch_rows(
    using: str, template: str, compiled_queries: Mapping[int, _CompiledQuery]
) -> dict[int, list[Any]]:
    """The rows of each query as the database returns them, by the query's number."""
    rows: dict[int, list[Any]] = {}
    if compiled_queries:
        statements = [template.format(number=n, query=c.sql) for n, c in compiled_queries.items()]
        params = [param for compiled in compiled_queries.values() for param in compiled.params]
        with connections[using].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(statements), params)
            for number, *row in cursor.fetchall():
                rows.setdefault(number, []).append(tuple(row))
    return rows


def key_as_text(name: str) -> Cast:
    """The column ``name`` as text: keys of several tables, of any type, fit into one statement."""
    return Cast(name, _KEY_TEXT)


def parse_key(model: type[Model], text: str) -> str:
    """A key of ``model`` that was read with ``key_as_text``, as Python writes it."""
    # Some databases write keys as text in another form than Python does.
    return str(model._meta.pk.to_python(text))


class Placeholder(Value):
    """A value that a BoundQuery gives later, by its name, for a column like ``field``.

    It stands in a queryset where the value would: ``rows.filter(kind=Placeholder("kind",
    KindField()))``.
    """

    def __init__(self, name: str, field: Any) -> None:
        super().__init__(name, output_field=field)

    def as_sql(self, _compiler: Any, _connection: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        # The object itself as the parameter: no value of the query can be mistaken for it.
        return "%s", [self]


class FixedQuery:
    """A queryset whose SQL is kept, because it is asked again and again.

    Not for one that depends on a time, or on what else may change.
    """

    def __init__(self, query: Any) -> None:
        self._query = query
        #: For the session that asked last, and its limit: most often the same asks again.
        self._last: tuple[Any, int, tuple[Any, str, Any] | None] = (None, 0, None)

    def compile(self, using: str, limit: int) -> tuple[Any, str, Any] | None:
        """The compiler, the SQL and its parameters; None if there cannot be rows."""
        connection, last = connections[using], self._last
        if last[0] is not connection or last[1] != limit:
            last = self._last = (connection, limit, _compile(using, self._query, limit))
        return last[2]


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """The queryset ``query`` with these ``values`` for its placeholders.

    All that have the very same ``query`` share its SQL.
    """

    query: Any
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Any) -> BoundQuery:
        """``query`` itself if it is a BoundQuery; else a queryset without placeholders."""
        return query if isinstance(query, BoundQuery) else cls(query)

    def params(self, django_params: Iterable[object], connection: object) -> list[object]:
        """The parameters of Django's SQL with the values in the place of placeholders.

        Raises ValueError unless every placeholder has a value and every value a placeholder.
        """
        django_params = list(django_params)
        placeholders = {param.value for param in django_params if isinstance(param, Placeholder)}
        if placeholders != self.values.keys():
            raise ValueError(
                f"the blanks are {sorted(placeholders)}, but filled are {[*self.values]}"
            )
        return [self._param(param, connection) for param in django_params]

    def _param(self, param: Any, connection: Any) -> Any:
        if not isinstance(param, Placeholder):
            return param
        value = self.values[param.value]
        return param.output_field.get_db_prep_value(value, connection=connection)

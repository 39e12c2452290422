"""The first rows of several queries, in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connections

K = TypeVar("K")

#: Queries in one statement: SQLite takes no more than 500.
_MOST = 200
# Django has made the query, with its values as parameters.
_PART = "SELECT {number} AS slice, s{number}.* FROM ({query}) AS s{number}"


def first_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, list[tuple[Any, ...]]]:
    """The first ``most`` rows of each query, by its key; a statement for every 200 of them.

    The queries are ``values_list()`` querysets whose columns are of the same types. Each is limited
    by itself, so that its index ends the search: Django's own ``union()`` cannot do that on SQLite.
    """
    found: dict[K, list[tuple[Any, ...]]] = {}
    rest = iter(queries.items())
    while together := dict(islice(rest, _MOST)):
        found.update(_together(using, together, most))
    return found


def _together(
    using: str, queries: Mapping[K, Any], most: int
) -> Iterator[tuple[K, list[tuple[Any, ...]]]]:
    compilers: dict[int, Any] = {}
    parts: list[str] = []
    params: list[Any] = []
    for number, query in enumerate(queries.values()):
        compiler = query[:most].query.get_compiler(using=using)
        try:
            sql, its_params = compiler.as_sql()
        except EmptyResultSet:
            continue
        compilers[number] = compiler
        parts.append(_PART.format(number=number, query=sql))
        params += its_params
    rows: dict[int, list[tuple[Any, ...]]] = {}
    if parts:
        with connections[using].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), params)
            for number, *row in cursor.fetchall():
                rows.setdefault(number, []).append(tuple(row))
    for number, key in enumerate(queries):
        raw = [rows.get(number, [])]
        compiler = compilers.get(number)
        # In the values of Python, as Django would give them.
        yield key, [tuple(row) for row in compiler.results_iter(results=raw)] if compiler else []

"""The first rows of several queries, in one statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connections

K = TypeVar("K")

#: Queries in one statement: SQLite takes no more than 500.
_MOST = 450
# Django has made the query, with its values as parameters.
_ROWS = "SELECT {number} AS slice, s{number}.* FROM ({query}) AS s{number}"
_COUNT = "SELECT {number} AS slice, COUNT(*) FROM ({query}) AS s{number}"
_TALLY = "SELECT {number} AS slice, s{number}.*, COUNT(*) FROM ({query}) AS s{number} GROUP BY 2"


def first_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, list[tuple[Any, ...]]]:
    """The first ``most`` rows of each query, by its key; a statement for every 450 of them.

    The queries are ``values_list()`` querysets whose columns are of the same types. Each is limited
    by itself, so that its index ends the search: Django's own ``union()`` cannot do that on SQLite.
    """
    found: dict[K, list[tuple[Any, ...]]] = {}
    for together in _batches(queries):
        compilers = _compiled(using, together, most)
        rows = _asked(using, _ROWS, compilers)
        for number, key in enumerate(together):
            raw = rows.get(number)
            # In the values of Python, as Django would give them.
            found[key] = list(map(tuple, compilers[number].results_iter([raw]))) if raw else []
    return found


def counted_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, int]:
    """How many rows each query has, by its key; no more than ``most`` are counted."""
    found: dict[K, int] = {}
    for together in _batches(queries):
        rows = _asked(using, _COUNT, _compiled(using, together, most))
        for number, key in enumerate(together):
            found[key] = rows[number][0][0] if number in rows else 0
    return found


def tallied_of(using: str, queries: Mapping[K, Any], most: int) -> dict[K, Counter[str]]:
    """How often each text is among the first ``most`` of each query, which has no other column."""
    found: dict[K, Counter[str]] = {}
    for together in _batches(queries):
        rows = _asked(using, _TALLY, _compiled(using, together, most))
        for number, key in enumerate(together):
            found[key] = Counter(dict(rows.get(number, ())))
    return found


def _batches(queries: Mapping[K, Any]) -> Iterator[dict[K, Any]]:
    rest = iter(queries.items())
    while together := dict(islice(rest, _MOST)):
        yield together


def _compiled(using: str, queries: Mapping[K, Any], most: int) -> dict[int, Any]:
    each = enumerate(queries.values())
    return {number: query[:most].query.get_compiler(using=using) for number, query in each}


def _asked(using: str, part: str, compilers: Mapping[int, Any]) -> dict[int, list[Any]]:
    """The rows of each query as the database gives them, by the query's number."""
    parts: list[str] = []
    params: list[Any] = []
    for number, compiler in compilers.items():
        try:
            sql, its_params = compiler.as_sql()
        except EmptyResultSet:
            continue
        parts.append(part.format(number=number, query=sql))
        params += its_params
    rows: dict[int, list[Any]] = {}
    if parts:
        with connections[using].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), params)
            for number, *row in cursor.fetchall():
                rows.setdefault(number, []).append(tuple(row))
    return rows

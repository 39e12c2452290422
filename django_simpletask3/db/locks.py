"""What many writers of one table have to mind, whatever the database can lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections, models

#: A statement is a writer's from its first word, also if there is nothing for it to do.
_EMPTY_DELETE = "DELETE FROM {rows} WHERE 1 = 0"


def begin_write(model: type[models.Model], using: str) -> None:
    """Begin a transaction by writing, if that is the only lock there is (SQLite).

    Whoever reads first and writes later is told at once that the database is locked, whatever the
    timeout says (test_many_writers_of_a_deferred_database_wait_for_each_other).
    """
    connection = connections[using]
    if not connection.features.has_select_for_update:
        with connection.cursor() as cursor:
            cursor.execute(
                _EMPTY_DELETE.format(rows=connection.ops.quote_name(model._meta.db_table))
            )


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """``items`` in pieces of ``size``, the last one may be smaller."""
    return (items[start : start + size] for start in range(0, len(items), size))

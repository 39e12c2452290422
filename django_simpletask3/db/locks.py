"""Locking for several writers of one table, on every database."""

from __future__ import annotations

from django.db import connections, models

#: SQLite takes its write lock also for a statement that changes nothing.
_EMPTY_DELETE = "DELETE FROM {rows} WHERE 1 = 0"


def begin_write(model: type[models.Model], using: str) -> None:
    """Begin a transaction with a write, if that is the only lock there is (SQLite).

    A transaction that reads first and writes later gets "database is locked" at once, whatever the
    timeout (test_many_writers_of_a_deferred_database_wait_for_each_other).
    """
    connection = connections[using]
    if not connection.features.has_select_for_update:
        with connection.cursor() as cursor:
            cursor.execute(
                _EMPTY_DELETE.format(rows=connection.ops.quote_name(model._meta.db_table))
            )

"""What many writers of one table have to mind, whatever the database can lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections, models


def become_the_writer(rows: models.QuerySet[Any]) -> None:
    """Begin a transaction by writing, if that is the only lock there is (SQLite).

    Whoever reads first and writes later is told at once that the database is locked, whatever the
    timeout says (test_many_writers_of_a_deferred_database_wait_for_each_other).
    """
    if not connections[rows.db].features.has_select_for_update:
        rows.order_by().update(worker=models.F("worker"))


def slices(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """``items`` in pieces of ``size``, the last one may be smaller."""
    return (items[start : start + size] for start in range(0, len(items), size))

"""What is running now, by worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import CharField
from django.db.models.functions import Cast

from ...db.limited_queries import first_rows
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...monitoring.scope import QueryScope

#: Rows of each table that are looked at: those that have been running for the longest.
MOST = 100


@dataclass(frozen=True, slots=True)
class Going:
    """A task that is running: which one, where, since when."""

    model: type[SimpleTask]
    database: str
    pk: str
    worker: str
    since: datetime | None


def running(scope: QueryScope) -> dict[str, list[Going]]:
    """What each worker runs, the longest first; one statement per database."""
    found: dict[str, list[Going]] = {}
    for together in scope.query_databases(partial(_going, scope)):
        for going in together:
            found.setdefault(going.worker, []).append(going)
    return found


def _going(scope: QueryScope, using: str, together: list[type[SimpleTask]]) -> list[Going]:
    key = Cast("pk", CharField(max_length=255))
    queries = {
        root: scope.restrict(rows_of(root, using), root, using)
        .running()
        .order_by("start_time")
        .values_list(key, "worker", "start_time")
        for root in together
    }
    return [
        Going(root, using, str(_key(root).to_python(text)), worker, since)
        for root, rows in first_rows(using, queries, MOST).items()
        for text, worker, since in rows
    ]


def _key(root: type[SimpleTask]) -> Any:
    return root._meta.pk

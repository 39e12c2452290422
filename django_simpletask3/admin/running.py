"""What is running now, by worker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import CharField
from django.db.models.functions import Cast

from django_simpletask3.catalog import tables
from django_simpletask3.models import SimpleTask
from django_simpletask3.querysets import rows_of
from django_simpletask3.slices import first_of

#: Rows of each table that are looked at: those that have been running for the longest.
MOST = 100


@dataclass(frozen=True, slots=True)
class Going:
    """A task that is running: which one, where, since when."""

    label: str
    pk: str
    worker: str
    since: datetime | None


def running(chosen: Iterable[type[SimpleTask]]) -> dict[str, list[Going]]:
    """What each worker runs, the longest first; one statement per database."""
    key = Cast("pk", CharField(max_length=255))
    found: dict[str, list[Going]] = {}
    for using, together in tables(chosen).items():
        queries = {
            root: rows_of(root, using)
            .running()
            .order_by("start_time")
            .values_list(key, "worker", "start_time")
            for root in together
        }
        for root, rows in first_of(using, queries, MOST).items():
            for text, worker, since in rows:
                pk: Any = root._meta.pk
                going = Going(root._meta.label, str(pk.to_python(text)), worker, since)
                found.setdefault(worker, []).append(going)
    return found

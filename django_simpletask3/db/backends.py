"""The store for each kind of database."""

from __future__ import annotations

from django.db import connections

from ..ledger.task_row import TaskRow
from .postgresql.store import PostgresStore
from .store import Store

_STORES: dict[str, type[Store]] = {"postgresql": PostgresStore}


def store_for(root: type[TaskRow], using: str) -> Store:
    """The store of the table of ``root``, and of that of its events, in ``using``."""
    return _STORES.get(connections[using].vendor, Store)(root, using)

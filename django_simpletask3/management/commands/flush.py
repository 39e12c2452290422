"""``manage.py flush``: Django's command, allowed to empty append-only tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands import flush
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ...ledger.tombstone import Tombstone
from ...schema.triggers import dialect_for


class Command(flush.Command):
    """Empty every table, as Django's test runner does after each TransactionTestCase."""

    def handle(self, **options: Any) -> None:
        with flushing(options["database"]):
            super().handle(**options)


@contextmanager
def flushing(using: str) -> Iterator[None]:
    """Allow statements that empty a whole protected table within the block.

    Each statement is allowed in its own transaction only: other connections stay locked out.
    """
    connection = connections[using]
    tables = _protected_tables(connection)
    if not tables:
        yield
        return
    with connection.execute_wrapper(_FlushWrapper(using, tables)):
        yield


def _protected_tables(connection: BaseDatabaseWrapper) -> list[str]:
    """The quoted names of the tables that have triggers of this package."""
    if connection.vendor not in ("sqlite", "mysql", "postgresql"):
        return []
    return [connection.ops.quote_name(name) for name in dialect_for(connection).protected_tables()]


class _FlushWrapper:
    def __init__(self, using: str, tables: list[str]) -> None:
        self.tombstones = Tombstone.objects.using(using)
        self.tables = tables

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if not self._is_flush(sql, params, context["connection"].vendor):
            return execute(sql, params, many, context)
        tombstone = self.tombstones.create(scope="flush")
        result = execute(sql, params, many, context)
        # Deleted already, if the statement emptied the table of tombstones, too.
        self.tombstones.filter(pk=tombstone.pk)._raw_delete(tombstone._state.db)
        return result

    def _is_flush(self, sql: str, params: object, vendor: str) -> bool:
        # MySQL runs no triggers for TRUNCATE, and commits before it.
        verbs = ("DELETE FROM",) if vendor == "mysql" else ("DELETE FROM", "TRUNCATE")
        return sql.startswith(verbs) and not params and any(name in sql for name in self.tables)

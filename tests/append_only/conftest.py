"""Tasks on the shelf, and what the database says to who touches their events."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from django_simpletask3.ledger.tombstone import Tombstone
from tests.append_only.shelf.models import Book

REFUSED = "Events are append-only"


@pytest.fixture
def book(transactional_db: None) -> Book:
    """A task with two events."""
    task = Book.objects.create(title="Emma")
    task.note("read")
    return task


@contextmanager
def refused() -> Iterator[None]:
    """The database refuses what happens in the block, and nothing of it stays."""
    kind = OperationalError if connection.vendor == "mysql" else IntegrityError
    with pytest.raises(kind, match=REFUSED), transaction.atomic():
        yield


@contextmanager
def open_door(using: str = "default") -> Iterator[Tombstone]:
    """As whoever deletes events on purpose: one transaction, at the end of which it is shut."""
    with transaction.atomic(using=using):
        tombstone = Tombstone.objects.using(using).create(model="shelf.Book", scope="test")
        yield tombstone
        tombstone.is_open = False
        tombstone.save(update_fields=["is_open"])


def execute(sql: str, *params: Any, using: str = "default") -> int:
    """How many rows a statement has found; tables are named in braces."""
    db = connections[using]
    with db.cursor() as cursor:
        cursor.execute(sql, params or None)
        return int(cursor.rowcount)


def quoted(model: Any) -> str:
    return str(connection.ops.quote_name(model._meta.db_table))

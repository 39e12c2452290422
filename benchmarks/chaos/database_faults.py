"""Faults of the database: closed connections and locks that are held."""

import contextlib
import random
import sqlite3
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, connections

from benchmarks.chaos.models import Job
from django_simpletask3.states import UNFINISHED

_LOCKED_ROWS = 200


class DatabaseFaults:
    """Inject faults into the database of the run."""

    def __init__(self) -> None:
        self.vendor = connection.vendor
        self._lock: sqlite3.Connection | None = None
        self._holders: list[Any] = []

    def cut_connections(self, rng: random.Random) -> int:
        """Close some connections of other processes; return how many."""
        cuts = {"postgresql": self._cut_postgres, "mysql": self._cut_mysql}
        cut = cuts.get(self.vendor)
        return cut(rng) if cut else 0

    def lock_database(self) -> None:
        """Block other writers (SQLite)."""
        if self.vendor != "sqlite" or self._lock is not None:
            return
        name = settings.DATABASES["default"]["NAME"]
        lock = sqlite3.connect(name, timeout=20, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        self._lock = lock

    def unlock_database(self) -> None:
        """End the transaction of ``lock_database``."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            lock.execute("ROLLBACK")
            lock.close()

    def close(self) -> None:
        """Release every lock."""
        self.unlock_database()
        for other in list(self._holders):
            self._release(other)

    def lock_rows(self) -> Callable[[], None]:
        """Lock the rows of some unfinished tasks; the returned function releases them."""
        other = connections.create_connection("default")
        self._holders.append(other)
        other.set_autocommit(False)
        rows = (
            Job.objects.filter(status__in=UNFINISHED)
            .order_by("-pk")
            .values_list("pk")[:_LOCKED_ROWS]
        )
        sql, params = rows.query.sql_with_params()
        with other.cursor() as cursor:
            cursor.execute(f"{sql} FOR UPDATE SKIP LOCKED", params)
        return lambda: self._release(other)

    def _release(self, other: Any) -> None:
        self._holders.remove(other)
        for end in (other.rollback, other.close):
            with contextlib.suppress(
                DatabaseError, InterfaceError
            ):  # its connection was closed meanwhile
                end()

    def _cut_postgres(self, rng: random.Random) -> int:
        sql = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < %s"
        )
        return int(_query(sql, [rng.choice([0.2, 0.5, 1.0])])[0][0])

    def _cut_mysql(self, rng: random.Random) -> int:
        sql = (
            "SELECT id FROM information_schema.processlist "
            "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        share = rng.choice([0.2, 0.5, 1.0])
        victims = [pid for (pid,) in _query(sql, []) if rng.random() < share]
        for pid in victims:
            with contextlib.suppress(Exception):  # it has already ended
                _query(f"KILL CONNECTION {int(pid)}", [])
        return len(victims)


def _query(sql: str, params: list[Any]) -> list[Any]:
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()

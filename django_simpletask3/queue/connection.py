"""The connections to one Redis: where it is, and how long to wait for it."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from .urls import Address, parse, redact

CONNECT_SECONDS = 0.5
READ_SECONDS = 1.5
#: How long a blocking read outlasts the wait that it asked for.
MARGIN_SECONDS = 2.0
#: The waits there are connections for; a longer one is made of several.
WAITS = (1.0, 5.0, 10.0, 30.0)
SHORTEST_WAIT = 0.01
#: What Redis says to a command whose wait was ended by ``wake``.
UNBLOCK_ERROR = "via CLIENT UNBLOCK"

_FORCED_OPTIONS = (
    "socket_timeout",
    "retry",
    "retry_on_timeout",
    "retry_on_error",
    "decode_responses",
)


class EmbeddedConnection(redis.UnixDomainSocketConnection):
    """A connection to a server in a folder; connecting starts the server if it does not run."""

    def __init__(self, folder: str = "", **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.folder = folder

    def _connect(self) -> Any:
        try:
            return super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            from . import embedded

            self.path = embedded.start(self.folder)
            return super()._connect()  # type: ignore[no-untyped-call]


_KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "redis": (redis.Connection, {"socket_keepalive": True}),
    "rediss": (redis.SSLConnection, {"socket_keepalive": True}),
    "unix": (redis.UnixDomainSocketConnection, {}),
    "embedded": (EmbeddedConnection, {}),
}


class Endpoint:
    """One Redis, named by a URL; clients are made when they are first asked for.

    Every client makes exactly one attempt (what may be tried again is known one level up) and has
    its own time limits, so that all versions of redis-py behave alike: half a second to connect,
    1.5 s for an answer. (Clients are ``Any``: redis-py's types differ from version to version.)
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.address: Address = parse(url)
        self._clients: dict[float, Any] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        # Blocked connections are found by this name when they are to be woken.
        self._name = f"simpletask3-{uuid.uuid4().hex}"

    def __repr__(self) -> str:
        return f"<Endpoint {redact(self.url)}>"

    @property
    def client(self) -> Any:
        """The client for everything that answers at once."""
        return self._client(READ_SECONDS)

    def blocking_client(self, seconds: float) -> tuple[Any, float]:
        """A client for a blocking command, and how long that may block: at most ``seconds``."""
        longest = next((wait for wait in WAITS if wait >= seconds), WAITS[-1])
        wait = min(longest, seconds) if seconds >= SHORTEST_WAIT else 0.0
        return self._client(longest + MARGIN_SECONDS), wait

    def wake(self) -> None:
        """End this process's blocking commands with an error that says WOKEN."""
        for client in self.client.client_list(_type="normal"):
            if client["name"] == self._name and "b" in client["flags"]:
                self.client.client_unblock(int(client["id"]), error=True)

    def close(self) -> None:
        """Close every idle connection; the next use opens new ones.

        One that is in use is closed when its command is done: redis-py answers whoever reads from a
        connection that another thread closes with any error but its own
        (test_closing_spares_a_command_of_another_thread).
        """
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.connection_pool.disconnect(inuse_connections=False)

    def _client(self, read_seconds: float) -> Any:
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._clients = os.getpid(), {}
                self._name = f"simpletask3-{uuid.uuid4().hex}"
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
        kind, defaults = _KINDS[self.address.scheme]
        pool = redis.ConnectionPool(connection_class=kind, **(defaults | options))
        return redis.Redis(connection_pool=pool)

    def _options(self, read_seconds: float) -> dict[str, Any]:
        own = {
            name: value
            for name, value in self.address.options.items()
            if name not in _FORCED_OPTIONS
        }
        defaults = {"socket_connect_timeout": CONNECT_SECONDS, "health_check_interval": 30}
        forced: dict[str, Any] = {"socket_timeout": read_seconds, "retry": Retry(NoBackoff(), 0)}
        if read_seconds > READ_SECONDS:
            forced["client_name"] = self._name
        return defaults | own | forced

    def _master(self, options: dict[str, Any]) -> Any:
        limits = {
            "socket_timeout": CONNECT_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            self.address.sentinels,
            sentinel_kwargs=limits | (self.address.sentinel_options or {}),
        )
        return sentinel.master_for(self.address.service, **({"socket_keepalive": True} | options))

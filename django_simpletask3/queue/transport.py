"""Run commands and scripts on Redis, with one exception for all errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import redis
from simqcore import SimQ

from django_simpletask3.exceptions import QueueUnavailable

from ..logs import get_logger
from .connection import UNBLOCK_ERROR, Endpoint, outage
from .encoding import dumps, loads
from .scripts import script
from .urls import redact

_logger = get_logger("django_simpletask3.queue")

#: Messages per script call, so that no call blocks the server for long.
BATCH_SIZE = 500

T = TypeVar("T")
_FAILOVER_ERRORS = ("ReadOnlyError", "READONLY", "UNBLOCKED", "MASTERDOWN")


class Transport(SimQ):  # type: ignore[misc]
    """A SimQ whose commands run as scripts.

    Every method that uses Redis raises QueueUnavailable, and no error of redis-py, if Redis cannot
    be reached, does not reply in time, or refuses the command. Commands that the claim makes
    idempotent are tried twice; a push once, since a ``save()`` waits for it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prefix: str = "simq",
        ack_event_expire: int = 60 * 60 * 24,
        done_item_expire: int = 60 * 60 * 24 * 7,
        worker_status_expire: int = 60 * 5,
        running_timeout: float = 60 * 5,
        default_running_timeout_action: str = "recover",
        running_timeout_handler_policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        super().__init__(
            None,
            prefix=prefix,
            ack_event_expire=int(ack_event_expire),
            done_item_expire=int(done_item_expire),
            worker_status_expire=int(worker_status_expire),
            running_timeout=running_timeout,
            default_running_timeout_action=default_running_timeout_action,
            running_timeout_handler_policies=running_timeout_handler_policies,
        )

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> Self:
        """Create a queue on the Redis at ``url``, without connecting. Raises InvalidSetting."""
        return cls(Endpoint(url), **settings)

    @property
    def db(self) -> Any:
        """The client for plain commands."""
        return self.endpoint.client

    @db.setter
    def db(self, client: object) -> None:
        """Ignore the client that SimQ's constructor assigns; clients come from the endpoint."""

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self.endpoint.close()

    def get_leases_key(self) -> str:
        """The key of the leases: a sorted set of running keys by expiry time."""
        return f"{self.prefix}:x:leases"

    def get_waits_key(self) -> str:
        """The key of the blocking waits: a hash of running keys, each with its worker."""
        return f"{self.prefix}:x:waits"

    def get_marker_key(self) -> str:
        """The key of the marker; it is missing if Redis has lost its data."""
        return f"{self.prefix}:x:mark"

    def get_dead_key(self, channel: str) -> str:
        """The key of the channel's list of dead letters."""
        return f"{self.prefix}:x:dead:{channel}"

    def run(self, name: str, *args: Any, tries: int = 2) -> Any:
        """Run the script ``name``, up to ``tries`` times if Redis does not reply."""
        arguments = [self.prefix, self.ack_event_expire, self.done_item_expire, *args]
        lua = script(name)
        return self.ask(lambda: lua.run(self.db, [self.get_leases_key()], arguments), tries=tries)

    def ask(self, command: Callable[[], T], *, tries: int = 2) -> T:
        """Call ``command``; if it is not idempotent, ``tries`` must be 1."""
        with self.translate_errors():
            for _ in range(tries - 1):
                try:
                    return command()
                except (redis.ConnectionError, redis.TimeoutError):
                    _logger.debug("redis_command_repeated", exc_info=True)
            return command()

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise QueueUnavailable for every error of redis-py."""
        try:
            yield
            outage.end()
        except (redis.RedisError, OSError) as problem:
            text = f"{type(problem).__name__}: {self.endpoint.address.mask_secrets(str(problem))}"
            text = f"Redis at {redact(self.endpoint.url)}: {text}"
            if UNBLOCK_ERROR not in text and any(word in text for word in _FAILOVER_ERRORS):
                self.endpoint.close()  # a failover: connect to the new master
            if UNBLOCK_ERROR not in text:
                outage.record(text, is_refusal=isinstance(problem, redis.ResponseError))
            raise QueueUnavailable(text) from problem

    def hset(self, key: str, data: Mapping[str, object]) -> None:
        """Write the fields of a hash, each as one YAML value."""
        mapping = {name: dumps(value) for name, value in data.items()}
        self.ask(lambda: self.db.hset(key, mapping=mapping))

    def hgetall(self, key: str) -> dict[str, Any]:
        """Read and decode a hash. Raises Undecodable if a field is not valid YAML."""
        fields = self.ask(lambda: self.db.hgetall(key))
        return {name.decode(errors="replace"): loads(value) for name, value in fields.items()}


def flatten(rows: Iterable[Iterable[Any]]) -> list[Any]:
    """Join the rows to one list of script arguments."""
    return [value for row in rows for value in row]

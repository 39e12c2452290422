"""Run commands and scripts on Redis, with one exception for all errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Self, TypeVar

import redis
from simqcore import SimQ

from django_simpletask3.exceptions import QueueRefused, QueueUnavailable

from ..logs import get_logger
from .connection import UNBLOCK_ERROR, Endpoint, outage
from .encoding import Undecodable, dumps, loads
from .scripts import Arguments, Script, pack, script
from .urls import redact

_logger = get_logger("django_simpletask3.queue")

#: Messages per script call, so that no call blocks the server for long.
BATCH_SIZE = 500

T = TypeVar("T")
_FAILOVER_ERRORS = ("ReadOnlyError", "READONLY", "UNBLOCKED", "MASTERDOWN")
#: How Redis says that a command (of a script, or by itself) or a key is denied to the user.
_DENIED_COMMAND = re.compile(r"NOPERM (\w+) refused|run the '([^']+)' command")
_DENIED_KEY = re.compile(r"no permissions to access|can't access")


class Transport(SimQ):  # type: ignore[misc]
    """A SimQ whose commands run as scripts.

    Every method that uses Redis raises QueueUnavailable, and no error of redis-py, if Redis cannot
    be reached, does not reply in time, or refuses the command. Commands that the claim makes
    idempotent are tried twice; a push once, since a ``save()`` waits for it.
    """

    #: Whether the server knows BLMOVE, as since 6.2; assumed until it says no.
    has_blmove = True

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
        lua, keys, arguments = self._script_call(name, args)
        return self.ask(lambda: lua.run(self.db, keys, arguments), tries=tries)

    def _run_after(
        self, client: Any, move: Sequence[Any], name: str, args: Sequence[Any]
    ) -> tuple[Any, Any]:
        """Run a blocking ``move`` and then the script ``name``, in one round trip; both replies.

        Of a server that does not know the command of the move, which notes that, b"" is the first.
        """
        lua, keys, arguments = self._script_call(name, args)
        with self.translate_errors():
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command(*move)
            pipeline.execute_command(*lua.command(keys, arguments))
            replies = pipeline.execute(raise_on_error=False)
            if isinstance(replies[0], redis.ResponseError) and "unknown command" in str(replies[0]):
                self.has_blmove, replies[0] = False, b""
            if isinstance(replies[1], redis.exceptions.NoScriptError):
                replies[1] = lua.run(self.db, keys, arguments)
            for error in replies:
                if isinstance(error, Exception):
                    raise error
        return replies[0], replies[1]

    def _script_call(self, name: str, args: Sequence[Any]) -> tuple[Script, list[str], list[Any]]:
        head = [self.prefix, self.ack_event_expire, self.done_item_expire]
        return script(name), [self.get_leases_key()], [*head, *args]

    def run_each(
        self, name: str, batches: Iterable[Sequence[bytes | str]], *shared: str
    ) -> list[Any]:
        """Run the script ``name`` once with each batch of arguments; returns the replies.

        Before those of a batch come the ``shared`` arguments.
        """
        head = (self.get_leases_key(), self.prefix, self.ack_event_expire, self.done_item_expire)
        try:
            replies = script(name).run_each(self.db, _packed_head(*head, *shared), batches)
        except (redis.RedisError, OSError) as problem:
            raise self._translated(problem) from problem
        outage.end()
        return replies

    def ask(
        self, command: Callable[[], T], *, tries: int = 2, key: str = "", is_optional: bool = False
    ) -> T:
        """Call ``command``; if it is not idempotent, ``tries`` must be 1.

        If the ``key`` that it uses is of another type, which no client of ours writes, the key is
        deleted first, as the scripts do. The refusal of an optional command is no outage.
        """
        try:
            return self._ask(command, tries, is_optional=is_optional or bool(key))
        except QueueRefused as problem:
            if not key or "WRONGTYPE" not in str(problem):
                raise
        self._ask(lambda: self.db.delete(key), tries)
        return self._ask(command, tries)

    def _ask(self, command: Callable[[], T], tries: int, *, is_optional: bool = False) -> T:
        with self.translate_errors(is_optional=is_optional):
            for _ in range(tries - 1):
                try:
                    return command()
                except (redis.ConnectionError, redis.TimeoutError):
                    _logger.debug("redis_command_repeated", exc_info=True)
            return command()

    @contextmanager
    def translate_errors(self, *, is_optional: bool = False) -> Iterator[None]:
        """Raise QueueUnavailable for every error of redis-py; QueueRefused if Redis answered."""
        try:
            yield
            outage.end()
        except (redis.RedisError, OSError) as problem:
            raise self._translated(problem, is_optional=is_optional) from problem

    def _translated(self, problem: Exception, *, is_optional: bool = False) -> QueueUnavailable:
        """The error to raise for ``problem``, which is recorded as an outage."""
        text = f"{type(problem).__name__}: {self.endpoint.address.mask_secrets(str(problem))}"
        text = f"Redis at {redact(self.endpoint.url)}: {text}"
        if UNBLOCK_ERROR not in text and any(word in text for word in _FAILOVER_ERRORS):
            self.endpoint.close()  # a failover: connect to the new master
        error = self._error_for(problem, text)
        is_refusal = isinstance(error, QueueRefused)
        if UNBLOCK_ERROR not in text and not (is_refusal and is_optional):
            outage.record(str(error), is_refusal=is_refusal)
        return error

    def _error_for(self, problem: Exception, text: str) -> QueueUnavailable:
        if isinstance(problem, redis.exceptions.AskError | redis.exceptions.ClusterDownError):
            # A MovedError is an AskError: the key belongs to another node.
            return QueueRefused(
                f"Redis at {redact(self.endpoint.url)} is a node of a Redis Cluster, which is not "
                "supported: use one server, or one with Sentinel."
            )
        if not isinstance(problem, redis.ResponseError | redis.AuthenticationError):
            return QueueUnavailable(text)
        names = self.denied_names(str(problem))
        return self.rights_missing(names) if names else QueueRefused(text)

    def rights_missing(self, names: Iterable[str]) -> QueueRefused:
        """The error that the user of Redis lacks the rights to ``names``: commands, or keys."""
        return QueueRefused(
            f"The user of Redis at {redact(self.endpoint.url)} may not use {', '.join(names)}: "
            "grant the rights that docs/reference/queue.md lists."
        )

    def denied_names(self, text: str) -> list[str]:
        """The names of the command or the keys that an error of Redis denies to its user."""
        if match := _DENIED_COMMAND.search(text):
            return [(match[1] or match[2]).replace("|", " ").upper()]
        return [f"the keys {self.prefix}:*"] if _DENIED_KEY.search(text) else []

    def hset(self, key: str, data: Mapping[str, object]) -> None:
        """Write the fields of a hash, each as one YAML value."""
        mapping = {name: dumps(value) for name, value in data.items()}
        self.ask(lambda: self.db.hset(key, mapping=mapping))

    def hgetall(self, key: str) -> dict[str, Any]:
        """Read and decode a hash; a field that cannot be decoded is left out."""
        parts = self.run("fields", key)
        fields: dict[str, Any] = {}
        for name, value in zip(parts[::2], parts[1::2], strict=True):
            with suppress(Undecodable):
                fields[name.decode(errors="replace")] = loads(value)
        return fields


@lru_cache(maxsize=1000)
def _packed_head(*arguments: object) -> Arguments:
    """The arguments that calls of a script share, after the number of keys, which is 1."""
    return pack(["1", *map(str, arguments)])


def flatten(rows: Iterable[Iterable[Any]]) -> list[Any]:
    """Join the rows to one list of script arguments."""
    return [value for row in rows for value in row]

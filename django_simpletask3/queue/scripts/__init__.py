"""The Lua scripts: one file for each atomic operation on the queue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import redis

#: The parts of a script, in their order, unless they are these and its own: base, library.
_PARTS = {"push": ("base", "push_new", "library", "push"), "rights": ("rights",)}
#: redis-py before 5.3 asks for what command a connection is.
_PURPOSE = () if redis.VERSION >= (5, 3) else ("EVALSHA",)


class Arguments(NamedTuple):
    """Arguments of a command, as Redis reads them."""

    number: int
    packed: bytes


def pack(arguments: Sequence[bytes | str]) -> Arguments:
    """Arguments as Redis reads them; redis-py takes up to eight times as long."""
    raw = [value if isinstance(value, bytes) else value.encode() for value in arguments]
    return Arguments(len(raw), b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in raw]))


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a script and its SHA-1, by which Redis caches it."""

    text: str
    sha: str

    def run(self, client: Any, keys: list[str], args: list[Any]) -> Any:
        """Run the script in one round trip; in two if Redis has not cached it."""
        command = self.command(keys, args)
        try:
            return client.execute_command(*command)
        except redis.exceptions.NoScriptError:
            return client.execute_command("EVAL", self.text, *command[2:])

    def command(self, keys: list[str], args: list[Any]) -> list[Any]:
        """The command that runs the script if Redis has cached it."""
        return ["EVALSHA", self.sha, len(keys), *keys, *args]

    def run_each(
        self, client: Any, shared: Arguments, batches: Iterable[Sequence[bytes | str]]
    ) -> list[Any]:
        """Run the script with each batch of arguments in turn; returns the replies.

        Before each of them come the ``shared`` ones: the number of keys, the keys, and more. The
        next batch is packed while Redis works on one. After an error no other is sent.
        """
        pool = client.connection_pool
        connection = pool.get_connection(*_PURPOSE)
        replies: list[Any] = []
        sent: Arguments | None = None
        try:
            for batch in batches:
                arguments = pack(batch)
                command = _command(_evalsha(self.sha), shared, arguments)
                if sent is not None:
                    replies.append(self._reply(connection, shared, sent))
                connection.send_packed_command([command])
                sent = arguments
            if sent is not None:
                replies.append(self._reply(connection, shared, sent))
        except redis.ResponseError:
            raise
        except BaseException:
            connection.disconnect()  # a reply may be left in it
            raise
        finally:
            pool.release(connection)
        return replies

    def _reply(self, connection: Any, *sent: Arguments) -> Any:
        try:
            return connection.read_response()
        except redis.exceptions.NoScriptError:
            connection.send_packed_command([_command(pack(["EVAL", self.text]), *sent)])
            return connection.read_response()


@cache
def _evalsha(sha: str) -> Arguments:
    return pack(["EVALSHA", sha])


def _command(name: Arguments, shared: Arguments, own: Arguments) -> bytes:
    number = name.number + shared.number + own.number
    return b"*%d\r\n%b%b%b" % (number, name.packed, shared.packed, own.packed)


@cache
def script(name: str) -> Script:
    """The script ``name``.lua, after the parts that it needs."""
    folder = files(__name__)
    names = _PARTS.get(name, ("base", "library", name))
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in names]
    text = "\n".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

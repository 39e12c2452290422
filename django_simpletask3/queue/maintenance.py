"""Queue maintenance: recover expired claims, adopt foreign ones, inspect channels."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypedDict

from ..batches import batches
from ..exceptions import QueueRefused
from .connection import SHORTEST_WAIT
from .encoding import dumps
from .transport import BATCH_SIZE, Transport

_PAGE_SIZE = 5000
_OVERLAP = 1000
_WITH_PRIORITY = 2  # the reply of push_times.lua for a message that waits with its priority
_SAMPLES = 10  # messages per page: some were returned, and are older than their neighbors
_CLOCK_SECONDS = 60.0  # how long a measured clock offset is used
_OLDEST_SERVER = (6, 2)
_GLOB = re.compile(r"([\[\]*?\\^-])")


class RecoveryCounts(TypedDict):
    """The number of expired claims per outcome of ``recover``."""

    returned: int
    dropped: int
    canceled: int
    kept: int
    cleared: int


class QueueMaintenance(Transport):
    """Recovery, adoption, cancellation, and queries about whole channels."""

    #: The time of Redis minus ``time.monotonic()``, and until when (Redis time) it is used.
    _clock_offset = 0.0
    _clock_valid_until = -math.inf

    def recover(
        self,
        *,
        limit: int = 500,
        channel: str = "",
        reason: str = "lease expired",
        policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> RecoveryCounts:
        """Recover up to ``limit`` claims whose lease has expired, by their channel's policy.

        Counts claims 'returned' to the queue, 'dropped', 'canceled' (a cancellation was requested),
        'kept' (held by a stock worker that reports itself alive) and 'cleared' (no message needed
        recovery). ``channel`` restricts the recovery to one channel.
        """
        args = (limit, dumps(reason), channel, self._policies(policies))
        _, returned, dropped, canceled, kept, cleared = self.run("recover", *args)
        return RecoveryCounts(
            returned=returned, dropped=dropped, canceled=canceled, kept=kept, cleared=cleared
        )

    def seconds_to_next_expiry(self) -> float:
        """Seconds until the first lease expires: 0.0 if one has expired, infinity without leases.

        One plain command; once a minute a script, which also returns the time of Redis.
        """
        now = time.monotonic() + self._clock_offset
        if now >= self._clock_valid_until:
            end, now = map(float, self.run("seconds_to_next_expiry"))
            self._clock_offset = now - time.monotonic()
            self._clock_valid_until = now + _CLOCK_SECONDS
        else:
            key = self.get_leases_key()
            earliest = self.ask(lambda: self.db.zrange(key, 0, 0, withscores=True), key=key)
            end = earliest[0][1] if earliest else math.inf
        return max(0.0, end - now)

    def adopt(self, *, count: int = 1000) -> int:
        """Add leases to the claims of stock clients; returns the number of leases added.

        A lease lasts the channel's running timeout; ``recover`` then handles the claim. Scans all
        keys of the Redis database, ``count`` at a time, which can take minutes.
        """
        policies = self._policies(None)
        pages = batches(self._running_keys(count=count), BATCH_SIZE)
        return sum(self.run("adopt", policies, *page) for page in pages)

    def expire_leases(self, workers: Iterable[str]) -> int:
        """End the leases of workers that are known to be dead; returns the number of claims.

        The next ``recover`` finds these claims.
        """
        names = list(workers)
        return int(self.run("expire_leases", *names)) if names else 0

    def wake(self) -> None:
        """End the wait of every blocking ``claim`` of this process now."""
        with self.translate_errors():
            self.endpoint.wake()

    def has_lost_data(self) -> bool:
        """Whether the marker is missing: Redis was flushed, restarted empty, or replaced.

        Also True if ``write_marker`` was never called.
        """
        return not self.ask(lambda: self.db.exists(self.get_marker_key()))

    def write_marker(self) -> bool:
        """Write the marker, by which ``has_lost_data`` recognises a Redis that kept its data.

        Returns False if it was there: another process has written it.
        """
        return bool(self.ask(lambda: self.db.set(self.get_marker_key(), time.time(), nx=True)))

    def missing(self, channel: str, ids: Collection[str]) -> list[str]:
        """The messages of ``ids`` that are neither queued in the channel nor claimed.

        Messages unknown to Redis, and those that wait with their priority, need no read of the
        queue. For the others the queue is read in pages, from the end that is claimed next.
        Messages pushed after those of the first page are assumed to be queued, as it is not their
        turn yet; the rest is searched for until found. A message that moves meanwhile may be
        returned although it is queued; pushing it again is harmless.
        """
        known: dict[bytes, bytes | int] = {}
        for batch in batches((message_id.encode() for message_id in ids), BATCH_SIZE):
            replies = self.run("push_times", channel, *batch)
            known |= {key: reply for key, reply in zip(batch, replies, strict=True) if reply}
        push_times = {key: _push_time(r) for key, r in known.items() if r != _WITH_PRIORITY}
        unclaimed: set[bytes] = set()
        for batch in batches(self._ids_not_queued(channel, push_times), BATCH_SIZE):
            unclaimed.update(self.run("unclaimed", channel, *batch))
        return [m for m in ids if (key := m.encode()) not in known or key in unclaimed]

    def cancel_many(self, channel: str, ids: Iterable[str]) -> None:
        """Cancel unfinished messages: remove them from the queue and revoke their claims."""
        for batch in batches(ids, BATCH_SIZE):
            self.run("cancel_many", channel, *batch, tries=1)

    def waiting(self, channel: str) -> int:
        """The number of queued messages of the channel."""
        return int(self.run("waiting", channel))

    def place(self, channel: str, message_id: str, *, limit: int = 1000) -> int | None:
        """How many messages are claimed before this one; None if it is not among the next ones.

        Of these ``limit`` are searched, by one script.
        """
        place = int(self.run("place", channel, message_id.encode(errors="surrogateescape"), limit))
        return None if place < 0 else place

    def running(self, channel: str) -> int:
        """The number of claimed messages of the channel (of a stock client: once adopted)."""
        return int(self.run("running", channel))

    def check_rights(self) -> None:
        """Raise QueueRefused, with their names, if the user of Redis lacks commands or keys."""
        keys = f"the keys {self.prefix}:*"
        names = [keys if name == b"KEYS" else name.decode() for name in self.run("rights")]
        names += [name for command in self._plain_commands() for name in self._denied(command)]
        if names:
            raise self.rights_missing(dict.fromkeys(names))

    def _plain_commands(self) -> Iterator[Callable[[], object]]:
        """The commands that no script runs; these have no effect."""
        client, wait = self.endpoint.blocking_client(SHORTEST_WAIT)
        key = f"{self.prefix}:x:rights"
        yield lambda: client.execute_command("BLMOVE", key, key, "RIGHT", "LEFT", wait)
        yield lambda: self.db.client_unblock(0)
        yield lambda: self.db.scan(0, "", 1)
        yield lambda: self.db.set(key, "", px=1)
        yield self.db.ping

    def _denied(self, command: Callable[[], object]) -> list[str]:
        try:
            self.ask(command, is_optional=True)
        except QueueRefused as refusal:
            return self.denied_names(str(refusal.__cause__))
        return []

    def version(self) -> str:
        """The version of the Redis server; empty if the user of Redis may not read it."""
        try:
            info: dict[str, Any] = self.ask(lambda: self.db.info("server"), is_optional=True)
        except QueueRefused:
            return ""
        return str(info.get("redis_version", ""))

    def check_server(self) -> list[str]:
        """Check version and settings of the Redis server; returns one warning per risk."""
        try:
            info: dict[str, Any] = self.ask(self.db.info, is_optional=True)
        except QueueRefused as refusal:
            return [f"The settings of Redis are not known. {refusal}"]
        version = str(info.get("redis_version", "0"))
        policy = info.get("maxmemory_policy", "noeviction")
        warnings = []
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST_SERVER:
            warnings.append(f"Redis {version} is too old: version 6.2 or later is needed.")
        if policy != "noeviction":
            warnings.append(
                f"maxmemory-policy is {policy}: under pressure Redis throws messages away. "
                "Set it to noeviction."
            )
        if not info.get("aof_enabled"):
            warnings.append(
                "appendonly is off: a restart of Redis forgets messages (waiting tasks are pushed "
                "again, each with an event that says so). Set appendonly to yes."
            )
        return warnings

    def get_running_keys(self, channel: str | None = None) -> set[str]:
        """All running keys, or those of one channel. Scans the Redis database."""
        keys = (key.decode(errors="surrogateescape") for key in self._running_keys())
        return {key for key in keys if channel is None or self._channel_of(key) == channel}

    def get_id_from_running_key(self, rkey: str) -> str | None:
        """The id of the message in a running key; None if the key is empty."""
        ids = self.ask(lambda: self.db.lrange(rkey, 0, 0), key=rkey)
        return ids[0].decode(errors="surrogateescape") if ids else None

    def _channel_of(self, running_key: str) -> str:
        return running_key[len(self.get_running_key("", "")) - 1 :].rpartition(":")[0]

    def _running_keys(self, count: int = 1000) -> Iterator[bytes]:
        pattern = _GLOB.sub(r"\\\1", self.prefix) + ":running:*"
        cursor = 0
        while True:
            cursor, keys = self._scan(cursor, pattern, count)
            yield from keys
            if not cursor:
                return

    def _scan(self, cursor: int, pattern: str, count: int) -> tuple[int, list[bytes]]:
        page: tuple[int, list[bytes]] = self.ask(lambda: self.db.scan(cursor, pattern, count))
        return page

    def _ids_not_queued(self, channel: str, push_times: Mapping[bytes, float]) -> list[bytes]:
        """The messages that should have been claimed or found in the queue by now."""
        key, remaining, end = self.get_mq_key(channel), dict(push_times), -1
        while remaining:
            page = self._range(key, end - _PAGE_SIZE + 1, end)
            for name in page:
                remaining.pop(name, None)
            if len(page) < _PAGE_SIZE:
                break
            if end == -1 and remaining:
                newest_time = self._newest_push_time(channel, page)
                remaining = {name: p for name, p in remaining.items() if p <= newest_time}
            # Claims shift the rest of the queue towards the end meanwhile: the pages overlap.
            end -= _PAGE_SIZE - _OVERLAP
        return list(remaining)

    def _newest_push_time(self, channel: str, page: list[bytes]) -> float:
        """The newest push time in a sample of ``page``; infinity if unknown."""
        replies = self.run("push_times", channel, *page[:: _PAGE_SIZE // _SAMPLES])
        newest = max(map(_push_time, replies))
        return newest if newest > -math.inf else math.inf

    def _range(self, key: str, start: int, end: int) -> list[bytes]:
        return self.ask(lambda: self.db.lrange(key, start, end), key=key)

    def _policies(self, policies: Mapping[str, Mapping[str, object]] | None) -> str:
        action = self.default_running_timeout_action
        default = {"running_timeout": self.running_timeout, "action": action}
        channels = policies or self.running_timeout_handler_policies
        return json.dumps({"default": default, "channels": channels})


def _push_time(reply: bytes | int) -> float:
    """The push time in a reply of the script ``push_times``; minus infinity if unknown."""
    return float(reply) if isinstance(reply, bytes) else -math.inf

"""Keeping the queue in order: what died in between is found, counted and put back."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypedDict

from .encoding import dumps
from .transport import Transport, batches

_PAGE_SIZE = 5000
_OVERLAP = 1000
_SAMPLES = 10  # of a page: some may have come back, and be older than their neighbors
_CLOCK_SECONDS = 60.0  # seconds after which Redis is asked for the time again
_OLDEST_SERVER = (6, 2)
_GLOB = re.compile(r"([\[\]*?\\^-])")


class RecoveryCounts(TypedDict):
    """What ``recover`` did with the claims whose lease had run out."""

    returned: int
    dropped: int
    canceled: int
    kept: int
    cleared: int


class QueueMaintenance(Transport):
    """Recovery, adoption, and questions about whole channels."""

    #: By how much the clock of Redis is ahead of ours that is never set, and how long that holds.
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
        """Settle up to ``limit`` claims whose lease has run out, by their channel's policy.

        'returned' to the queue, 'dropped', 'canceled' (somebody had asked for it), 'kept' (a stock
        worker that reports itself alive), 'cleared' (nothing was left to settle).
        """
        args = (limit, dumps(reason), channel, self._policies(policies))
        _, *counts = self.run("recover", *args)
        returned, dropped, canceled, kept, cleared = counts
        return RecoveryCounts(
            returned=returned, dropped=dropped, canceled=canceled, kept=kept, cleared=cleared
        )

    def seconds_to_next_expiry(self) -> float:
        """Seconds until the first lease ends: 0.0 if one has ended, infinity if none stands.

        One plain command; once a minute a script, which tells what time it is.
        """
        now = time.monotonic() + self._clock_offset
        if now >= self._clock_valid_until:
            end, now = map(float, self.run("seconds_to_next_expiry"))
            self._clock_offset = now - time.monotonic()
            self._clock_valid_until = now + _CLOCK_SECONDS
        else:
            key = self.get_leases_key()
            earliest = self.ask(lambda: self.db.zrange(key, 0, 0, withscores=True))
            end = earliest[0][1] if earliest else math.inf
        return max(0.0, end - now)

    def adopt(self, *, count: int = 1000) -> int:
        """Give the claims of stock clients a lease of their running timeout; how many were new.

        Looks through all keys of the database, ``count`` at a time: an affair of minutes, not of
        seconds. From then on ``recover`` finds those claims, and what their clients left behind.
        """
        policies = self._policies(None)
        pages = batches(self._running_keys(count=count))
        return sum(self.run("adopt", policies, *page) for page in pages)

    def expire_leases(self, workers: Iterable[str]) -> int:
        """End the leases of what ``workers`` hold, who are known to be dead; how many claims.

        ``recover`` then finds them at once.
        """
        names = list(workers)
        return int(self.run("expire_leases", *names)) if names else 0

    def wake(self) -> None:
        """Let every ``claim`` of this process that waits for a message end its wait now."""
        with self.translate_errors():
            self.endpoint.wake()

    def has_lost_data(self) -> bool:
        """Whether Redis knows nothing of ``mark``: it was never called, or all is forgotten.

        A server that was restarted empty, flushed, or replaced by an empty one is found so.
        """
        return not self.ask(lambda: self.db.exists(self.get_marker_key()))

    def write_marker(self) -> None:
        """Set the mark by which a Redis that remembers is known."""
        self.ask(lambda: self.db.set(self.get_marker_key(), time.time()))

    def missing(self, channel: str, ids: Collection[str]) -> list[str]:
        """Which of ``ids`` neither wait in the channel nor are held under a valid lease.

        Those that Redis knows nothing of cost no look at the queue; for the others it is read from
        the end that is taken from next, in pages. What was pushed after those of the first page
        has its turn later: it is taken to wait, as it is not late yet. The rest is looked for
        until it is found. A message that moves meanwhile may be reported although it is there;
        pushing it again is harmless.
        """
        push_times: dict[bytes, float] = {}
        for batch in batches(name.encode() for name in ids):
            answers = self.run("push_times", *batch)
            push_times |= {
                n: _push_time(answer) for n, answer in zip(batch, answers, strict=True) if answer
            }
        unclaimed: set[bytes] = set()
        for batch in batches(self._ids_not_queued(channel, push_times)):
            unclaimed.update(self.run("unclaimed", channel, *batch))
        return [
            name for name in ids if (key := name.encode()) not in push_times or key in unclaimed
        ]

    def cancel_many(self, channel: str, ids: Iterable[str]) -> None:
        """Cancel messages in whatever state: out of the queue, or out of their holder's hands."""
        for batch in batches(ids):
            self.run("cancel_many", channel, *batch, tries=1)

    def waiting(self, channel: str) -> int:
        """How many messages wait in the channel."""
        key = self.get_mq_key(channel)
        return int(self.ask(lambda: self.db.llen(key)))

    def running(self, channel: str) -> int:
        """How many messages of the channel are held (by a stock client: once they are adopted)."""
        return int(self.run("running", channel))

    def dead_letter_count(self, channel: str) -> int:
        """How many dead letters the channel has."""
        key = self.get_dead_key(channel)
        return int(self.ask(lambda: self.db.llen(key)))

    def version(self) -> str:
        """The version of the Redis server."""
        info: dict[str, Any] = self.ask(lambda: self.db.info("server"))
        return str(info.get("redis_version", ""))

    def check_server(self) -> list[str]:
        """What about the Redis server endangers messages, one sentence each."""
        info: dict[str, Any] = self.ask(self.db.info)
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
        """Every running key, of one channel if it is given."""
        keys = self._running_keys()
        return {key for key in keys if channel is None or self._channel_of(key) == channel}

    def get_id_from_running_key(self, rkey: str) -> str | None:
        """The id of the message that is held under a running key."""
        ids = self.ask(lambda: self.db.lrange(rkey, 0, 0))
        return ids[0].decode(errors="surrogateescape") if ids else None

    def _channel_of(self, running_key: str) -> str:
        return running_key[len(self.get_running_key("", "")) - 1 :].rpartition(":")[0]

    def _running_keys(self, count: int = 1000) -> Iterator[str]:
        pattern = _GLOB.sub(r"\\\1", self.prefix) + ":running:*"
        cursor = 0
        while True:
            cursor, keys = self._scan(cursor, pattern, count)
            yield from (key.decode(errors="surrogateescape") for key in keys)
            if not cursor:
                return

    def _scan(self, cursor: int, pattern: str, count: int) -> tuple[int, list[bytes]]:
        page: tuple[int, list[bytes]] = self.ask(lambda: self.db.scan(cursor, pattern, count))
        return page

    def _ids_not_queued(self, channel: str, push_times: Mapping[bytes, float]) -> list[bytes]:
        """The messages that the queue should have come to by now, and has not got."""
        key, remaining, end = self.get_mq_key(channel), dict(push_times), -1
        while remaining:
            page = self._range(key, end - _PAGE_SIZE + 1, end)
            for name in page:
                remaining.pop(name, None)
            if len(page) < _PAGE_SIZE:
                break
            if end == -1 and remaining:
                newest_time = self._newest_push_time(page)
                remaining = {
                    name: push_time
                    for name, push_time in remaining.items()
                    if push_time <= newest_time
                }
            # What is taken meanwhile lets the rest move towards the end: the pages overlap.
            end -= _PAGE_SIZE - _OVERLAP
        return list(remaining)

    def _newest_push_time(self, page: list[bytes]) -> float:
        """When the newest of some messages of ``page`` was pushed; infinity if that is unknown."""
        answers = self.run("push_times", *page[:: _PAGE_SIZE // _SAMPLES])
        newest = max(map(_push_time, answers))
        return newest if newest > -math.inf else math.inf

    def _range(self, key: str, start: int, end: int) -> list[bytes]:
        return self.ask(lambda: self.db.lrange(key, start, end))

    def _policies(self, own: Mapping[str, Mapping[str, Any]] | None) -> str:
        default = {
            "running_timeout": self.running_timeout,
            "action": self.default_running_timeout_action,
        }
        channels = own or self.running_timeout_handler_policies
        return json.dumps({"default": default, "channels": channels})


def _push_time(answer: bytes | int) -> float:
    """When a message was pushed, as the script ``push_times`` answers; long ago if it does not say."""
    return float(answer) if isinstance(answer, bytes) else -math.inf

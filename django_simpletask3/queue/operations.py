"""Push, claim, acknowledge, return and drop messages in batches."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis

from ..batches import batches
from ..conf.priorities import PRIORITIES
from ..exceptions import QueueUnavailable
from .connection import SHORTEST_WAIT, UNBLOCK_ERROR
from .encoding import dumps
from .messages import Message, build_message
from .transport import BATCH_SIZE, Transport, flatten

#: A registered wait expires this many seconds after the wait itself, for slow connections.
GRACE_SECONDS = 10.0
_MIN_GRACE_SECONDS = 4.0  # what must be left of it when a registration is reused

#: A longer id becomes a dead letter (claim.lua).
MAX_ID_BYTES = 4096

_PUSH_LAST = "LPUSH"
_PUSH_NEXT = "RPUSH"
_HINT_SECONDS = 15  # after the last hint of a channel, all are forgotten


@dataclass(slots=True)
class Waiter:
    """A registered blocking wait that one thread reuses between claims.

    Redis drops the registration at ``registered_until`` (``time.monotonic()``; 0.0: unregistered).
    With ``is_reused`` a registration is kept for the next claim if no message arrived.
    ``on_hint`` is called, in the thread that claims, with the seconds until tasks of the channel
    are due that have no message yet.
    """

    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    registered_until: float = 0.0
    is_reused: bool = True
    on_hint: Callable[[Iterable[float]], object] = lambda seconds: None

    def finished(self, message_id: bytes | None) -> None:
        """Note the end of a wait, with a message or None."""
        if message_id is not None or not self.is_reused:
            self.registered_until = 0.0

    def reset(self) -> None:
        """Use a new token for the next wait."""
        self.token, self.registered_until = str(uuid.uuid4()), 0.0


class QueueOperations(Transport):
    """The batch operations; each runs one script per 500 messages and raises QueueUnavailable."""

    def push(
        self,
        channel: str,
        messages: Iterable[tuple[str, Any]],
        *,
        urgent: bool = False,
        take_over: bool = False,
        priorities: Mapping[str, int] | None = None,
    ) -> list[str]:
        """Push messages (id, body); returns 'pushed', 'queued' or 'running' for each.

        'queued': it was queued already and now has the new body; 'running': it is claimed, and is
        queued again when the claim is settled. ``priorities`` has those of the ids whose priority
        is not 0, from -100 to 100; a queued message that gets another one moves. ``urgent``
        messages are claimed before others of their priority, in the order given. With
        ``take_over`` an existing claim becomes invalid at once. A cancellation, expiry or result
        that an earlier message with the same id left is removed.

        Waits at most 2 seconds for Redis. Raises TypeError for a body that has no plain form,
        ValueError for one of more than 64 KiB, an id of more than 4 KiB or a priority that is out
        of range, and pushes nothing then.
        """
        known = _checked(priorities or {})
        rows = [(_encode_id(m), dumps(m), dumps(body), known.get(m, 0)) for m, body in messages]
        side = _PUSH_NEXT if urgent else _PUSH_LAST
        head = (channel, dumps(channel), side, "1" if take_over else "")
        replies: list[bytes] = []
        # RPUSH puts each message before the previous one: the first is pushed last.
        for batch in batches(reversed(rows) if urgent else rows, BATCH_SIZE):
            numbers = [row[3] for row in batch]
            text = " ".join(map(str, numbers)) if any(numbers) else ""
            replies += self.run("push", *head, text, *flatten(row[:3] for row in batch), tries=1)
        results = [reply.decode() for reply in replies]
        return results[::-1] if urgent else results

    def push_hints(self, channel: str, hints: Iterable[tuple[str, float]]) -> None:
        """Tell a worker of the channel in how many seconds these tasks (id, seconds) are due.

        For tasks that have no message yet: ``claim`` passes the seconds to the worker, which then
        looks at the table. Waits at most 2 seconds for Redis.
        """
        rows = [(_encode_id(message_id), max(0.0, seconds)) for message_id, seconds in hints]
        for batch in batches(rows, BATCH_SIZE):
            self.run("push_hints", channel, _HINT_SECONDS, *flatten(batch), tries=1)

    def claim(
        self,
        channel: str,
        *,
        worker: str,
        limit: int = 1,
        lease: float,
        timeout: float = 0,
        waiter: Waiter | None = None,
    ) -> list[Message]:
        """Claim up to ``limit`` messages, each with a lease of ``lease`` seconds.

        Waits up to ``timeout`` seconds for the first message; returns an empty list if none
        arrives. Canceled messages are finished and skipped. A missing or unreadable body sets
        ``problem`` of the message.

        A thread that claims repeatedly should pass the same ``waiter``: it stays registered between
        calls, which saves commands. End its registration with ``stop_waiting``.
        """
        if limit < 1:
            return []
        waiter = waiter or Waiter(is_reused=False)
        try_claim = partial(
            self._claim_or_register, waiter, channel, worker=worker, lease=lease, limit=limit
        )
        deadline = time.monotonic() + timeout
        while True:
            client, wait = self.endpoint.blocking_client(deadline - time.monotonic())
            if not self._keep_registered(channel, waiter, wait):
                messages = try_claim(wait)
                if messages or wait <= 0:
                    return messages
            try:
                self._block(client, channel, waiter, wait)
            except QueueUnavailable as problem:
                # The reply may be lost, not the message.
                messages = try_claim(0)
                if messages or UNBLOCK_ERROR in str(problem):
                    return messages
                raise
            if waiter.registered_until and deadline - time.monotonic() < SHORTEST_WAIT:
                return []

    def stop_waiting(self, channel: str, waiter: Waiter) -> None:
        """Unregister a wait that is not blocking at the moment."""
        if waiter.registered_until:
            running_key = self.get_running_key(channel, waiter.token)
            waiter.reset()
            leases, waits = self.get_leases_key(), self.get_waits_key()
            self.ask(lambda: self.db.zrem(leases, running_key), key=leases)
            self.ask(lambda: self.db.hdel(waits, running_key), key=waits)

    def _claim_or_register(
        self, waiter: Waiter, channel: str, wait: float, *, worker: str, lease: float, limit: int
    ) -> list[Message]:
        """Claim without blocking; if the queue is empty, register a ``wait`` (0: unregister)."""
        was_registered, started_at = waiter.registered_until > 0, time.monotonic()
        waiter.registered_until = 0.0
        rows = self.claim_rows(channel, worker, lease, waiter, limit=limit, wait=wait)
        messages = [build_message(channel, worker, row) for row in rows]
        if messages:
            if was_registered:  # the messages may have come from the queue, not from the wait
                running_key = self.get_running_key(channel, waiter.token)
                with suppress(QueueUnavailable):
                    self.ask(lambda: self.db.hdel(self.get_waits_key(), running_key))
            waiter.reset()
        elif wait > 0:
            waiter.registered_until = started_at + wait + GRACE_SECONDS
        return messages

    def _block(self, client: object, channel: str, waiter: Waiter, seconds: float) -> None:
        """Wait up to ``seconds`` for a message that Redis moves to the token of ``waiter``."""
        try:
            waiter.finished(self._wait(client, channel, waiter.token, seconds))
        except QueueUnavailable:
            raise
        except BaseException:
            # Redis may have moved a message: the next claim has to run the script.
            waiter.registered_until = 0.0
            raise

    def _keep_registered(self, channel: str, waiter: Waiter, wait: float) -> bool:
        """Whether the registration covers ``wait`` seconds; extends it if it is too short."""
        remaining = waiter.registered_until - time.monotonic()
        if wait <= 0 or remaining <= 0:
            return False
        if remaining >= wait + _MIN_GRACE_SECONDS:
            return True
        extension = wait + GRACE_SECONDS - remaining
        running_key = self.get_running_key(channel, waiter.token)
        # If Redis has lost the registration, or is full, the claim script runs instead. One try: if
        # the reply is lost, the new expiry is unknown. The last blocking move may have delivered a
        # message after its connection broke: the claim script takes that message, too.
        with suppress(QueueUnavailable):
            key = self.get_leases_key()
            if self.ask(lambda: self.db.llen(running_key)):
                return False
            updates = {running_key: extension}
            if self.ask(lambda: self.db.zadd(key, updates, xx=True, incr=True), tries=1):
                waiter.registered_until += extension
                return True
        return False

    def ack_many(self, messages: Iterable[Message], result: object = True) -> list[bool]:
        """Acknowledge messages; False for each whose claim is no longer valid.

        A message that was pushed again meanwhile is queued again. Repeating the call for the same
        claim returns True again.
        """
        return self.settle(messages, "done", dumps(result))

    def drop_many(self, messages: Iterable[Message]) -> list[bool]:
        """Drop messages; returns the same as ``ack_many``."""
        return self.settle(messages, "drop", "null")

    def ret_many(
        self, messages: Iterable[Message], reason: str = "", *, head: bool = True
    ) -> list[bool]:
        """Return messages to the queue; False for each whose claim is no longer valid.

        With ``head`` they are claimed next, in the order given; else they go to the end.
        """
        rows = [message.script_arguments for message in messages]
        replies: list[bool] = []
        for batch in batches(reversed(rows) if head else rows, BATCH_SIZE):
            results = self.run(
                "give_back", _PUSH_NEXT if head else _PUSH_LAST, dumps(reason), *flatten(batch)
            )
            replies += map(bool, results)
        return replies[::-1] if head else replies

    def heartbeat(self, worker: str, messages: Sequence[Message], *, lease: float) -> list[Message]:
        """Report ``worker`` alive and renew its leases for ``lease`` seconds.

        Returns the messages whose claim is no longer valid.
        """
        lost: set[bytes] = set()
        head = (worker, dumps(worker), self.worker_status_expire, lease)
        for batch in batches(messages, BATCH_SIZE) if messages else [[]]:
            rows = flatten(message.script_arguments for message in batch)
            lost.update(self.run("heartbeat", *head, *rows))
        return [message for message in messages if message.running_id.encode() in lost]

    def settle(
        self, messages: Iterable[Message], outcome: str, result: str, letter: str = ""
    ) -> list[bool]:
        """Finish messages with ``outcome``; ``letter`` becomes a dead letter of their channel."""
        replies: list[bool] = []
        for batch in batches(messages, BATCH_SIZE):
            rows = flatten(message.script_arguments for message in batch)
            replies += map(bool, self.run("settle", outcome, result, letter, *rows))
        return replies

    def claim_rows(
        self,
        channel: str,
        worker: str,
        lease: float,
        waiter: Waiter,
        *,
        limit: int = 1,
        wait: float = 0,
    ) -> list[Any]:
        """Run the claim script; returns its rows, the first claimed with the waiter's token.

        If the queue is empty, a ``wait`` of that many seconds is registered for that token.
        """
        head = (channel, worker, dumps(worker), self.worker_status_expire, lease)
        token, registered_seconds = waiter.token, wait + GRACE_SECONDS if wait > 0 else 0
        replies: list[Any] = []
        while len(replies) < limit:
            size = min(limit - len(replies), BATCH_SIZE)
            rows, hints = self.run("claim", *head, registered_seconds, token, size)
            replies += rows
            if hints:
                waiter.on_hint(map(float, hints))
            if len(rows) < size:
                break
            token, registered_seconds = str(uuid.uuid4()), 0
        return replies

    def _wait(self, client: Any, channel: str, token: str, seconds: float) -> Any:
        """Block until a message is moved to ``token``; returns its id, or None after ``seconds``.

        The registered wait is a lease: if the process dies here, recovery finds the message.
        """
        with self.translate_errors():
            return self._move(
                client, self.get_mq_key(channel), self.get_running_key(channel, token), seconds
            )

    def _move(self, client: Any, source: str, target: str, seconds: float) -> Any:
        try:
            return client.execute_command("BLMOVE", source, target, "RIGHT", "LEFT", seconds)
        except redis.ResponseError as problem:
            if "unknown command" not in str(problem):
                raise
        whole_seconds = max(1, round(seconds))  # servers before 6.2 accept no fractions
        return client.execute_command("BRPOPLPUSH", source, target, whole_seconds)


def _checked(priorities: Mapping[str, int]) -> Mapping[str, int]:
    for message_id, priority in priorities.items():
        if priority not in PRIORITIES:
            raise ValueError(f"the priority of {message_id} is {priority}; it is from -100 to 100")
    return priorities


def _encode_id(message_id: str) -> bytes:
    """The id as Redis stores it; raises ValueError if a worker would refuse it."""
    raw = message_id.encode(errors="surrogateescape")
    if len(raw) > MAX_ID_BYTES:
        raise ValueError(f"the id of a message has {len(raw)} bytes; at most {MAX_ID_BYTES}")
    return raw

"""Push, claim, acknowledge, return and drop messages in batches."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from ..batches import batches
from ..conf.priorities import PRIORITIES
from ..exceptions import QueueUnavailable
from .connection import SHORTEST_WAIT, UNBLOCK_ERROR
from .encoding import dumps
from .messages import EncodedMessage, Message, build_message, encode_id, encode_message
from .transport import BATCH_SIZE, Transport, flatten

_channel_yaml = lru_cache(maxsize=1000)(dumps)

#: A registered wait expires this many seconds after the wait itself, for slow connections.
GRACE_SECONDS = 10.0
_MIN_GRACE_SECONDS = 4.0  # what must be left of it when a wait begins

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

    def is_registered_for(self, seconds: float) -> bool:
        """Whether a wait of ``seconds`` may begin: its registration outlasts it."""
        remaining = self.registered_until - time.monotonic()
        return seconds > 0 and remaining >= seconds + _MIN_GRACE_SECONDS

    def reset(self) -> None:
        """Use a new token for the next wait."""
        self.token, self.registered_until = str(uuid.uuid4()), 0.0


class _Claim(NamedTuple):
    """Which messages are to be claimed, and by whom."""

    channel: str
    worker: str
    lease: float
    limit: int
    waiter: Waiter

    def end(self, rows: list[Any], registered_until: float) -> list[Message]:
        """The messages that were claimed; if there are none, the waiter is registered."""
        if rows:
            self.waiter.reset()
        else:
            self.waiter.registered_until = registered_until
        return [build_message(self.channel, self.worker, row) for row in rows]


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
        entries = list(messages)
        known = _checked(priorities or {})
        encoded = [encode_message(message_id, body) for message_id, body in entries]
        numbers = [known.get(message_id, 0) for message_id, _ in entries]
        replies = self.push_encoded(channel, encoded, numbers, urgent=urgent, take_over=take_over)
        return [reply.decode() for reply in replies]

    def push_encoded(
        self,
        channel: str,
        messages: Sequence[EncodedMessage],
        priorities: Sequence[int],
        *,
        urgent: bool = False,
        take_over: bool = False,
    ) -> list[bytes]:
        """As ``push``, of messages that are encoded; ``priorities`` has one for each, in range."""
        if not messages:
            return []
        side = _PUSH_LAST
        if urgent:
            # RPUSH puts each message before the previous one: the first is pushed last.
            side, messages, priorities = _PUSH_NEXT, messages[::-1], priorities[::-1]
        encoded = _encoded_batches(messages, priorities)
        shared = channel, _channel_yaml(channel), side, "1" if take_over else ""
        results = list(chain(*self.run_each("push", encoded, *shared)))
        return results[::-1] if urgent else results

    def push_hints(self, channel: str, hints: Iterable[tuple[str, float]]) -> None:
        """Tell a worker of the channel in how many seconds these tasks (id, seconds) are due.

        For tasks that have no message yet: ``claim`` passes the seconds to the worker, which then
        looks at the table. Waits at most 2 seconds for Redis.
        """
        rows = [(encode_id(message_id), max(0.0, seconds)) for message_id, seconds in hints]
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
        claim = _Claim(channel, worker, lease, limit, waiter)
        try:
            return self._claim_until(time.monotonic() + timeout, claim)
        finally:
            if not waiter.is_reused:
                self.stop_waiting(channel, waiter)

    def stop_waiting(self, channel: str, waiter: Waiter) -> None:
        """Unregister a wait that is not blocking at the moment."""
        if waiter.registered_until:
            running_key = self.get_running_key(channel, waiter.token)
            waiter.reset()
            leases, waits = self.get_leases_key(), self.get_waits_key()
            # The lease last: recovery finds by it what a process that dies in between has left.
            self.ask(lambda: self.db.hdel(waits, running_key), key=waits)
            self.ask(lambda: self.db.zrem(leases, running_key), key=leases)

    def _claim_until(self, deadline: float, claim: _Claim) -> list[Message]:
        while True:
            client, wait = self.endpoint.blocking_client(deadline - time.monotonic())
            if not claim.waiter.is_registered_for(wait):
                messages = self._claim_or_register(claim, wait)
                if messages or wait <= 0:
                    return messages
            try:
                messages = self._wait_and_claim(claim, client, wait)
            except QueueUnavailable as problem:
                # The replies may be lost, not the messages.
                messages = self._claim_or_register(claim, wait)
                if messages or UNBLOCK_ERROR in str(problem):
                    return messages
                raise
            if messages or deadline - time.monotonic() < SHORTEST_WAIT:
                return messages

    def _claim_or_register(self, claim: _Claim, wait: float) -> list[Message]:
        """Claim without blocking; if the queue is empty, register a ``wait`` (0: unregister)."""
        started_at, claim.waiter.registered_until = time.monotonic(), 0.0
        rows = self.claim_rows(*claim[:3], claim.waiter, limit=claim.limit, wait=wait)
        return claim.end(rows, started_at + wait + GRACE_SECONDS if wait > 0 else 0.0)

    def _wait_and_claim(self, claim: _Claim, client: Any, wait: float) -> list[Message]:
        """Wait for a message that Redis moves to the waiter's token, and claim: one round trip.

        If none arrives, the next wait is registered, of the same length. The registered wait is a
        lease: if the process dies here, recovery finds the message.
        """
        started_at, claim.waiter.registered_until = time.monotonic(), 0.0
        move = self._blocking_move(claim.channel, claim.waiter.token, wait)
        arguments = self._claim_arguments(claim, claim.waiter.token, claim.limit, wait)
        moved, reply = self._run_after(client, move, "claim", arguments)
        waited = wait if moved is None else 0.0
        rows = _read_claim_reply(reply, claim.waiter)
        return claim.end(rows, started_at + waited + wait + GRACE_SECONDS)

    def ack_many(self, messages: Iterable[Message], result: object = True) -> list[bool]:
        """Acknowledge messages; False for each whose claim is no longer valid.

        A message that was pushed again meanwhile is queued again. Repeating the call for the same
        claim returns True again. One without ``running_id`` tells of the end of a task that has run
        without its message: if that is in the queue, or claimed, nothing is done.
        """
        return self.settle(messages, "done", dumps(result))

    def drop_many(self, messages: Iterable[Message]) -> list[bool]:
        """Drop messages; returns the same as ``ack_many``."""
        return self.settle(messages, "drop", "null")

    def forget_many(self, messages: Iterable[Message]) -> list[bool]:
        """Remove messages whose tasks have not ended: who waits for their end goes on waiting.

        Returns the same as ``ack_many``; of a repeated call, False.
        """
        return self.settle(messages, "forget", "null")

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
        claim = _Claim(channel, worker, lease, limit, waiter)
        token, replies = waiter.token, list[Any]()
        while len(replies) < limit:
            size = min(limit - len(replies), BATCH_SIZE)
            arguments = self._claim_arguments(claim, token, size, wait)
            rows = _read_claim_reply(self.run("claim", *arguments), waiter)
            replies += rows
            if len(rows) < size:
                break
            token, wait = str(uuid.uuid4()), 0.0
        return replies

    def _claim_arguments(self, claim: _Claim, token: str, limit: int, wait: float) -> list[Any]:
        registered: float | str = wait + GRACE_SECONDS if wait > 0 else 0
        if token != claim.waiter.token or not (wait > 0 or claim.waiter.is_reused):
            registered = ""
        head = [claim.channel, claim.worker, dumps(claim.worker), self.worker_status_expire]
        return [*head, claim.lease, registered, token, min(limit, BATCH_SIZE)]

    def _blocking_move(self, channel: str, token: str, seconds: float) -> list[Any]:
        keys = [self.get_mq_key(channel), self.get_running_key(channel, token)]
        if self.has_blmove:
            return ["BLMOVE", *keys, "RIGHT", "LEFT", seconds]
        return ["BRPOPLPUSH", *keys, max(1, round(seconds))]  # accepts no fractions


def _encoded_batches(
    messages: Sequence[EncodedMessage], priorities: Sequence[int]
) -> Iterator[list[bytes | str]]:
    """The arguments of one call of the script each."""
    for start in range(0, len(messages), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        numbers = " ".join(map(str, priorities[batch])) if any(priorities[batch]) else ""
        yield [numbers, *chain(*messages[batch])]


def _read_claim_reply(reply: Any, waiter: Waiter) -> list[Any]:
    rows, hints = reply
    if hints:
        waiter.on_hint(map(float, hints))
    return list(rows)


def _checked(priorities: Mapping[str, int]) -> Mapping[str, int]:
    for message_id, priority in priorities.items():
        if priority not in PRIORITIES:
            raise ValueError(f"the priority of {message_id} is {priority}; it is from -100 to 100")
    return priorities

"""Messages on their way, many at a time: into the queue, to a worker, and to their end."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis

from ..exceptions import QueueUnavailable
from .connection import SHORTEST_WAIT, UNBLOCK_ERROR
from .encoding import dumps
from .messages import Message, build_message
from .transport import BATCH_SIZE, Transport, batches, flatten

#: How long an announced wait outlasts the wait itself, for slow connections.
GRACE_SECONDS = 10.0
_MIN_GRACE_SECONDS = 4.0  # of it, at the beginning of a further wait

_PUSH_LAST = "LPUSH"
_PUSH_NEXT = "RPUSH"


@dataclass(slots=True)
class Waiter:
    """The place of one who waits at a queue again and again; used by one thread.

    ``until``, by the machine's clock that is never set, Redis knows of the wait; 0.0: it does not.
    ``is_kept`` from one wait to the next, if the first was in vain.
    """

    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    registered_until: float = 0.0
    is_reused: bool = True

    def finished(self, message_id: bytes | None) -> None:
        """A wait has ended, with this message or in vain."""
        if message_id is not None or not self.is_reused:
            self.registered_until = 0.0

    def reset(self) -> None:
        """What came is taken: the next one is waited for in another name."""
        self.token, self.registered_until = str(uuid.uuid4()), 0.0


class QueueOperations(Transport):
    """The batch operations; each is one script per 500 messages."""

    def push(
        self,
        channel: str,
        messages: Iterable[tuple[str, Any]],
        *,
        urgent: bool = False,
        take_over: bool = False,
    ) -> list[str]:
        """Put messages (id, body) into the queue; for each 'pushed', 'queued' or 'running'.

        'queued': it waits already and has the new body now; 'running': somebody holds it, and it
        goes in when the holder settles it. ``urgent`` messages are the next to be taken, in the
        order given. With ``steal`` a holder loses the message at once. Whatever an earlier life of
        the id left behind (a cancellation, an expiry, a result) is forgotten.

        Waits 2 seconds at most if Redis does not answer. Raises TypeError for a body that has no
        plain form; nothing is pushed then.
        """
        rows = [(name, dumps(name), dumps(body)) for name, body in messages]
        head = (
            channel,
            dumps(channel),
            _PUSH_NEXT if urgent else _PUSH_LAST,
            "1" if take_over else "",
        )
        answers: list[bytes] = []
        # The last one pushed is the first one taken, where the next ones come from.
        for batch in batches(reversed(rows) if urgent else rows):
            answers += self.run("push", *head, *flatten(batch), tries=1)
        results = [answer.decode() for answer in answers]
        return results[::-1] if urgent else results

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
        """Take up to ``limit`` messages, each under a lease of ``lease`` seconds.

        Waits up to ``timeout`` seconds for a first one; an empty list if none came. Canceled
        messages are finished on the way. A body that is gone or unreadable is told by ``problem``.

        Whoever comes again and again brings the same ``seat``: it stays announced in between, and
        a wait in vain costs hardly more than the wait. It is given up by ``leave``.
        """
        if limit < 1:
            return []
        current_waiter = waiter or Waiter(is_reused=False)
        try_claim = partial(
            self._claim_or_register,
            current_waiter,
            channel,
            worker=worker,
            lease=lease,
            limit=limit,
        )
        deadline = time.monotonic() + timeout
        while True:
            client, wait = self.endpoint.blocking_client(deadline - time.monotonic())
            if not self._keep_registered(channel, current_waiter, wait) and (
                (messages := try_claim(wait)) or wait <= 0
            ):
                return messages
            try:
                current_waiter.finished(self._wait(client, channel, current_waiter.token, wait))
            except QueueUnavailable as problem:
                # The answer may be lost, not the message.
                messages = try_claim(0)
                if messages or UNBLOCK_ERROR in str(problem):
                    return messages
                raise
            except BaseException:
                current_waiter.registered_until = (
                    0.0  # the message may have been moved: the next claim looks
                )
                raise
            if current_waiter.registered_until and deadline - time.monotonic() < SHORTEST_WAIT:
                return []

    def stop_waiting(self, channel: str, waiter: Waiter) -> None:
        """Take back that somebody waits in ``seat``, who does not just now."""
        if waiter.registered_until:
            running_key = self.get_running_key(channel, waiter.token)
            waiter.reset()
            self.ask(lambda: self.db.zrem(self.get_leases_key(), running_key))
            self.ask(lambda: self.db.hdel(self.get_waits_key(), running_key))

    def _claim_or_register(
        self, waiter: Waiter, channel: str, wait: float, *, worker: str, lease: float, limit: int
    ) -> list[Message]:
        """What there is; if there is nothing, a ``wait`` is announced, or none any more."""
        was_registered, waiter.registered_until, asked_at = (
            waiter.registered_until > 0,
            0.0,
            time.monotonic(),
        )
        rows = self.claim_rows(channel, worker, lease, waiter.token, limit=limit, wait=wait)
        messages = [build_message(channel, worker, row) for row in rows]
        if messages:
            if was_registered:  # and is not what brought them
                running_key = self.get_running_key(channel, waiter.token)
                with suppress(QueueUnavailable):
                    self.ask(lambda: self.db.hdel(self.get_waits_key(), running_key))
            waiter.reset()
        elif wait > 0:
            waiter.registered_until = asked_at + wait + GRACE_SECONDS
        return messages

    def _keep_registered(self, channel: str, waiter: Waiter, wait: float) -> bool:
        """Whether a ``wait`` in ``seat`` is announced; says so to Redis if it is not for long."""
        remaining = waiter.registered_until - time.monotonic()
        if wait <= 0 or remaining <= 0:
            return False
        if remaining >= wait + _MIN_GRACE_SECONDS:
            return True
        extension, running_key = (
            wait + GRACE_SECONDS - remaining,
            self.get_running_key(channel, waiter.token),
        )
        # A Redis that has forgotten the wait, or is full, is asked by the script. Not twice: if the
        # answer was lost, nobody knows until when. A connection that only we know to be broken may
        # have been given a message: that is taken by the script as well.
        with suppress(QueueUnavailable):
            key = self.get_leases_key()
            if self.ask(lambda: self.db.llen(running_key)):
                return False
            if self.ask(
                lambda: self.db.zadd(key, {running_key: extension}, xx=True, incr=True), tries=1
            ):
                waiter.registered_until += extension
                return True
        return False

    def ack_many(self, messages: Iterable[Message], result: Any = True) -> list[bool]:
        """Finish messages; False for one whose claim is no longer valid.

        One that was pushed again meanwhile goes back into the queue. True is also the answer for a
        message that this very claim has acknowledged before.
        """
        return self._settle(messages, "done", dumps(result))

    def drop_many(self, messages: Iterable[Message]) -> list[bool]:
        """Finish messages as dropped; answers like ``ack_many``."""
        return self._settle(messages, "drop", "null")

    def ret_many(
        self, messages: Iterable[Message], reason: str = "", *, head: bool = True
    ) -> list[bool]:
        """Give messages back; False for one whose claim is no longer valid.

        With ``head`` they are the next to be taken, in the order given; else they go to the end.
        """
        rows = [message.script_arguments for message in messages]
        answers: list[bool] = []
        for batch in batches(reversed(rows) if head else rows):
            results = self.run(
                "give_back", _PUSH_NEXT if head else _PUSH_LAST, dumps(reason), *flatten(batch)
            )
            answers += map(bool, results)
        return answers[::-1] if head else answers

    def dead_letter(self, message: Message, reason: str) -> bool:
        """Drop a message and keep it among the channel's dead letters (the last 10 000)."""
        letter = {
            "id": message.id,
            "channel": message.channel,
            "reason": reason,
            "data": message.data,
            "time": time.time(),
        }
        return self._settle(
            [message], "drop", "null", json.dumps(letter, default=str, skipkeys=True)
        )[0]

    def dead_letters(self, channel: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest dead letters of a channel."""
        key = self.get_dead_key(channel)
        letters = self.ask(lambda: self.db.lrange(key, 0, limit - 1))
        return [json.loads(letter) for letter in letters]

    def requeue_dead_letters(self, channel: str, limit: int = 1000) -> int:
        """Put the oldest ``limit`` dead letters of a channel back into its queue; how many.

        Each is pushed before it is taken off the list: a death in between replays it once more,
        which costs a look at its row.
        """
        key = self.get_dead_key(channel)
        letters = self.ask(lambda: self.db.lrange(key, -limit, -1))[::-1]
        for letter in letters:
            fields = json.loads(letter)
            self.push(channel, [(fields["id"], fields["data"])])
            self.ask(partial(self.db.lrem, key, -1, letter), tries=1)
        return len(letters)

    def heartbeat(self, worker: str, messages: Sequence[Message], *, lease: float) -> list[Message]:
        """Say that ``worker`` lives and renew what it holds; those that it no longer holds."""
        lost: set[bytes] = set()
        head = (worker, dumps(worker), self.worker_status_expire, lease)
        for batch in batches(messages) if messages else [[]]:
            rows = flatten(message.script_arguments for message in batch)
            lost.update(self.run("heartbeat", *head, *rows))
        return [message for message in messages if message.running_id.encode() in lost]

    def _settle(
        self, messages: Iterable[Message], outcome: str, result: str, letter: str = ""
    ) -> list[bool]:
        answers: list[bool] = []
        for batch in batches(messages):
            rows = flatten(message.script_arguments for message in batch)
            answers += map(bool, self.run("settle", outcome, result, letter, *rows))
        return answers

    def claim_rows(
        self,
        channel: str,
        worker: str,
        lease: float,
        token: str,
        *,
        limit: int = 1,
        wait: float = 0,
    ) -> list[Any]:
        """What the claim script answers, the first message under ``token``.

        A ``wait`` is announced in its name if there is nothing to claim.
        """
        head = (channel, worker, dumps(worker), self.worker_status_expire, lease)
        registered_seconds = wait + GRACE_SECONDS if wait > 0 else 0
        answers: list[Any] = []
        while len(answers) < limit:
            size = min(limit - len(answers), BATCH_SIZE)
            answers += (rows := self.run("claim", *head, registered_seconds, token, size))
            if len(rows) < size:
                break
            token, registered_seconds = str(uuid.uuid4()), 0
        return answers

    def _wait(self, client: Any, channel: str, token: str, seconds: float) -> Any:
        """Let the next message be moved under ``token``; its id, or None if none came.

        The wait was announced as a lease: whoever dies in here, the message is found.
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
        whole_seconds = max(1, round(seconds))  # servers before 6.2 know no fractions here
        return client.execute_command("BRPOPLPUSH", source, target, whole_seconds)

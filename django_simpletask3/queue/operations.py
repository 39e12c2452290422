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
from .connection import SHORTEST_WAIT, WOKEN
from .encoding import dumps
from .messages import Message, claimed
from .transport import BATCH, Transport, batches, flat

#: How long an announced wait outlasts the wait itself, for slow connections.
GRACE_SECONDS = 10.0
_ENOUGH = 4.0  # of it, at the beginning of a further wait

_END = "LPUSH"
_NEXT = "RPUSH"


@dataclass(slots=True)
class Seat:
    """The place of one who waits at a queue again and again; used by one thread.

    ``until``, by the machine's clock that is never set, Redis knows of the wait; 0.0: it does not.
    ``is_kept`` from one wait to the next, if the first was in vain.
    """

    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    until: float = 0.0
    is_kept: bool = True

    def heard(self, moved: bytes | None) -> None:
        """A wait has ended, with this message or in vain."""
        if moved is not None or not self.is_kept:
            self.until = 0.0

    def rise(self) -> None:
        """What came is taken: the next one is waited for in another name."""
        self.token, self.until = str(uuid.uuid4()), 0.0


class Delivery(Transport):
    """The batch operations; each is one script per 500 messages."""

    def push(
        self,
        channel: str,
        messages: Iterable[tuple[str, Any]],
        *,
        urgent: bool = False,
        steal: bool = False,
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
        head = (channel, dumps(channel), _NEXT if urgent else _END, "1" if steal else "")
        answers: list[bytes] = []
        # The last one pushed is the first one taken, where the next ones come from.
        for batch in batches(reversed(rows) if urgent else rows):
            answers += self.run("push", *head, *flat(batch), tries=1)
        words = [answer.decode() for answer in answers]
        return words[::-1] if urgent else words

    def claim(
        self,
        channel: str,
        *,
        worker: str,
        limit: int = 1,
        lease: float,
        timeout: float = 0,
        seat: Seat | None = None,
    ) -> list[Message]:
        """Take up to ``limit`` messages, each under a lease of ``lease`` seconds.

        Waits up to ``timeout`` seconds for a first one; an empty list if none came. Canceled
        messages are finished on the way. A body that is gone or unreadable is told by ``problem``.

        Whoever comes again and again brings the same ``seat``: it stays announced in between, and
        a wait in vain costs hardly more than the wait. It is given up by ``leave``.
        """
        if limit < 1:
            return []
        place = seat or Seat(is_kept=False)
        claim = partial(self._seated, place, channel, worker=worker, lease=lease, limit=limit)
        deadline = time.monotonic() + timeout
        while True:
            client, wait = self.endpoint.waiting(deadline - time.monotonic())
            if not self._stays(channel, place, wait) and ((messages := claim(wait)) or wait <= 0):
                return messages
            try:
                place.heard(self._wait(client, channel, place.token, wait))
            except QueueUnavailable as problem:
                # The answer may be lost, not the message.
                messages = claim(0)
                if messages or WOKEN in str(problem):
                    return messages
                raise
            except BaseException:
                place.until = 0.0  # the message may have been moved: the next claim looks
                raise
            if place.until and deadline - time.monotonic() < SHORTEST_WAIT:
                return []

    def leave(self, channel: str, seat: Seat) -> None:
        """Take back that somebody waits in ``seat``, who does not just now."""
        if seat.until:
            place = self.get_running_key(channel, seat.token)
            seat.rise()
            self.ask(lambda: self.db.zrem(self.get_leases_key(), place))
            self.ask(lambda: self.db.hdel(self.get_waits_key(), place))

    def _seated(
        self, seat: Seat, channel: str, wait: float, *, worker: str, lease: float, limit: int
    ) -> list[Message]:
        """What there is; if there is nothing, a ``wait`` is announced, or none any more."""
        was_announced, seat.until, asked_at = seat.until > 0, 0.0, time.monotonic()
        rows = self.claim_rows(channel, worker, lease, seat.token, limit=limit, wait=wait)
        messages = [claimed(channel, worker, row) for row in rows]
        if messages:
            if was_announced:  # and is not what brought them
                place = self.get_running_key(channel, seat.token)
                with suppress(QueueUnavailable):
                    self.ask(lambda: self.db.hdel(self.get_waits_key(), place))
            seat.rise()
        elif wait > 0:
            seat.until = asked_at + wait + GRACE_SECONDS
        return messages

    def _stays(self, channel: str, seat: Seat, wait: float) -> bool:
        """Whether a ``wait`` in ``seat`` is announced; says so to Redis if it is not for long."""
        left = seat.until - time.monotonic()
        if wait <= 0 or left <= 0:
            return False
        if left >= wait + _ENOUGH:
            return True
        more, place = wait + GRACE_SECONDS - left, self.get_running_key(channel, seat.token)
        # A Redis that has forgotten the wait, or is full, is asked by the script. Not twice: if the
        # answer was lost, nobody knows until when. A connection that only we know to be broken may
        # have been given a message: that is taken by the script as well.
        with suppress(QueueUnavailable):
            key = self.get_leases_key()
            if self.ask(lambda: self.db.llen(place)):
                return False
            if self.ask(lambda: self.db.zadd(key, {place: more}, xx=True, incr=True), tries=1):
                seat.until += more
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
        rows = [message.address for message in messages]
        answers: list[bool] = []
        for batch in batches(reversed(rows) if head else rows):
            done = self.run("give_back", _NEXT if head else _END, dumps(reason), *flat(batch))
            answers += map(bool, done)
        return answers[::-1] if head else answers

    def bury(self, message: Message, reason: str) -> bool:
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

    def replay(self, channel: str, limit: int = 1000) -> int:
        """Put the oldest ``limit`` dead letters of a channel back into its queue; how many.

        Each is pushed before it is taken off the list: a death in between replays it once more,
        which costs a look at its row.
        """
        key = self.get_dead_key(channel)
        letters = self.ask(lambda: self.db.lrange(key, -limit, -1))[::-1]
        for letter in letters:
            said = json.loads(letter)
            self.push(channel, [(said["id"], said["data"])])
            self.ask(partial(self.db.lrem, key, -1, letter), tries=1)
        return len(letters)

    def heartbeat(self, worker: str, messages: Sequence[Message], *, lease: float) -> list[Message]:
        """Say that ``worker`` lives and renew what it holds; those that it no longer holds."""
        lost: set[bytes] = set()
        head = (worker, dumps(worker), self.worker_status_expire, lease)
        for batch in batches(messages) if messages else [[]]:
            rows = flat(message.address for message in batch)
            lost.update(self.run("heartbeat", *head, *rows))
        return [message for message in messages if message.running_id.encode() in lost]

    def _settle(
        self, messages: Iterable[Message], outcome: str, result: str, letter: str = ""
    ) -> list[bool]:
        answers: list[bool] = []
        for batch in batches(messages):
            rows = flat(message.address for message in batch)
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
        announced = wait + GRACE_SECONDS if wait > 0 else 0
        answers: list[Any] = []
        while len(answers) < limit:
            size = min(limit - len(answers), BATCH)
            answers += (rows := self.run("claim", *head, announced, token, size))
            if len(rows) < size:
                break
            token, announced = str(uuid.uuid4()), 0
        return answers

    def _wait(self, client: Any, channel: str, token: str, seconds: float) -> Any:
        """Let the next message be moved under ``token``; its id, or None if none came.

        The wait was announced as a lease: whoever dies in here, the message is found.
        """
        with self.translated():
            return self._move(
                client, self.get_mq_key(channel), self.get_running_key(channel, token), seconds
            )

    def _move(self, client: Any, source: str, target: str, seconds: float) -> Any:
        try:
            return client.execute_command("BLMOVE", source, target, "RIGHT", "LEFT", seconds)
        except redis.ResponseError as problem:
            if "unknown command" not in str(problem):
                raise
        whole = max(1, round(seconds))  # servers before 6.2 know no fractions here
        return client.execute_command("BRPOPLPUSH", source, target, whole)

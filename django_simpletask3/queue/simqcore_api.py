"""The methods of ``simqcore.SimQ``, one message at a time, implemented with the scripts."""

from __future__ import annotations

# ruff: noqa: A002 - the argument is called id in the stock client
import time
import uuid
from collections.abc import Mapping
from typing import Any

from .contract.task_queue import TaskQueue
from .dead_letters import DeadLetters
from .encoding import Undecodable, dumps, loads
from .maintenance import QueueMaintenance
from .messages import Message
from .operations import QueueOperations
from .worker_registry import WorkerRegistry

_FINAL = ("done", "drop", "canceled")
#: The longest wait of ``query`` before it reads the status again.
_RECHECK_SECONDS = 1.0
_CANCEL_RESULTS = {1: True, 0: False, -1: None}


class SimqcoreApi(QueueOperations, QueueMaintenance):
    """The stock methods, with the stock signatures and return values.

    They identify a message by its id only: ``ack``, ``drop`` and ``ret`` act for the current claim
    and return False without one. All raise QueueUnavailable.
    """

    def lpush(self, channel: str, data: object, id: str | None = None) -> str:
        """Push a message to the end of the queue; returns its id."""
        return self._push(channel, data, id, urgent=False)

    def rpush(self, channel: str, data: object, id: str | None = None) -> str:
        """Push a message as the next to be claimed; returns its id."""
        return self._push(channel, data, id, urgent=True)

    def pop(
        self, channel: str, worker: str | None = None, timeout: float = 5
    ) -> dict[str, Any] | None:
        """Claim the next message; None if none arrives within ``timeout`` seconds."""
        worker = worker or self.get_default_worker()
        claims = self.claim(channel, worker=worker, lease=self._lease(channel), timeout=timeout)
        if not claims:
            return None
        return claims[0].as_dict | (self.query(claims[0].id) or {})

    def ack(self, id: str, result: object = None) -> bool:
        """Acknowledge a message; False unless it is claimed or was acknowledged before."""
        status, message = self._state(id)
        return status == "done" or (message is not None and self.ack_many([message], result)[0])

    def drop(self, id: str) -> bool:
        """Drop a message; False unless it is claimed or was dropped before."""
        status, message = self._state(id)
        return status == "drop" or (message is not None and self.drop_many([message])[0])

    def ret(self, id: str, return_reason: str | None = None) -> bool:
        """Return a message to the end of the queue; False unless it is claimed."""
        status, message = self._state(id)
        if status != "running" or message is None:
            return False
        return self.ret_many([message], return_reason or "", head=False)[0]

    def cancel(self, id: str) -> bool | None:
        """Cancel a message: True if it will not run, None if it is running, False if too late.

        A running message is canceled only if it is returned to the queue.
        """
        return _CANCEL_RESULTS[self.run("cancel", id)]

    def query(self, id: str, timeout: float = 0) -> dict[str, Any] | None:
        """The message's fields, as soon as it is finished or after ``timeout`` seconds.

        None if the message is unknown. Any number of callers may wait for the same message.
        """
        deadline = time.monotonic() + timeout
        key, done = self.get_item_key(id), self.get_done_key(id)
        while True:
            fields: dict[str, Any] | None = self.hgetall(key) or None
            remaining = min(deadline - time.monotonic(), _RECHECK_SECONDS)
            client, wait = self.endpoint.blocking_client(remaining)
            if wait <= 0 or (fields or {}).get("status") in _FINAL:
                return fields
            with self.translate_errors():  # a move onto itself keeps the event for other callers
                client.execute_command("BLMOVE", done, done, "RIGHT", "RIGHT", wait)

    def update_worker_status(self, worker: str | None = None, expire: int = 0) -> None:
        """Record that a worker is alive, for ``expire`` seconds."""
        name = worker or self.get_default_worker()
        self.run("heartbeat", name, dumps(name), int(expire or self.worker_status_expire), 0)

    def get_worker_status(self, worker: str | None = None) -> dict[str, object] | None:
        """The last status of a worker with its ``ttl`` in seconds; None without a report."""
        key = self.get_worker_key(worker or self.get_default_worker())
        status = self.hgetall(key)
        return status | {"ttl": self.ask(lambda: self.db.ttl(key))} if status else None

    def recovery(
        self,
        channel: str | None = None,
        running_timeout_handler_policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> int:
        """Adopt and recover; returns the number of messages returned, dropped or canceled."""
        self.adopt()
        counts = self.recover(
            limit=10_000, channel=channel or "", policies=running_timeout_handler_policies
        )
        return counts["returned"] + counts["dropped"] + counts["canceled"]

    def _push(self, channel: str, data: object, id: str | None, *, urgent: bool) -> str:
        message_id = id or str(uuid.uuid4())
        self.push(channel, [(message_id, data)], urgent=urgent)
        return message_id

    def _lease(self, channel: str) -> float:
        policy = self.get_running_timeout_handler_policy({"channel": channel})
        return float(policy["running_timeout"])

    def _state(self, id: str) -> tuple[str, Message | None]:
        """The status of a message, and the message under its current claim."""
        key = self.get_item_key(id)
        values = self.ask(lambda: self.db.hmget(key, "status", "channel", "running_id"), key=key)
        status, channel, running_id = map(_decode_text, values)
        message = Message(id, channel, running_id, None) if channel and running_id else None
        return status, message


def _decode_text(raw: bytes | None) -> str:
    """The text that ``raw`` says in YAML; an empty one if it says something else."""
    try:
        value = loads(raw or b"null")
    except Undecodable:
        return ""
    return value if isinstance(value, str) else ""


class Queue(SimqcoreApi, DeadLetters, WorkerRegistry, TaskQueue):
    """Messages in Redis, in the format of ``simqcore`` 0.2.

    Keys, statuses and values are those of the stock client, so that both can use the same queues;
    additional keys begin with ``{prefix}:x:``. Each operation is one atomic script, idempotent for
    the same claim; an operation with an invalid claim changes nothing. Redis Cluster is not
    supported.
    """

    #: Whether tasks have messages; if not, workers poll the tables.
    has_messages = True

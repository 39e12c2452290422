"""The contract of a queue: every operation that this package calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..maintenance import RecoveryCounts
from ..messages import EncodedMessage, Message
from ..operations import Waiter
from ..worker_registry import Report


class TaskQueue(ABC):
    """What workers, pushes, recovery and the admin use, with or without Redis.

    An operation that needs Redis raises QueueUnavailable if Redis cannot be reached. A queue that
    lacks an operation cannot be made, and mypy refuses it.
    """

    #: Whether tasks have messages; if not, workers poll the tables.
    has_messages: bool

    @abstractmethod
    def push(
        self,
        channel: str,
        messages: Iterable[tuple[str, Any]],
        *,
        urgent: bool = False,
        take_over: bool = False,
        priorities: Mapping[str, int] | None = None,
    ) -> list[str]:
        """Push messages (id, body); returns 'pushed', 'queued' or 'running' for each."""

    @abstractmethod
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

    @abstractmethod
    def push_hints(self, channel: str, hints: Iterable[tuple[str, float]]) -> None:
        """Tell a worker of the channel in how many seconds these tasks (id, seconds) are due."""

    @abstractmethod
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
        """Claim up to ``limit`` messages, each with a lease of ``lease`` seconds."""

    @abstractmethod
    def stop_waiting(self, channel: str, waiter: Waiter) -> None:
        """Unregister a wait that is not blocking at the moment."""

    @abstractmethod
    def ack_many(self, messages: Iterable[Message], result: object = True) -> list[bool]:
        """Acknowledge messages; False for each whose claim is no longer valid."""

    @abstractmethod
    def drop_many(self, messages: Iterable[Message]) -> list[bool]:
        """Drop messages; returns the same as ``ack_many``."""

    @abstractmethod
    def forget_many(self, messages: Iterable[Message]) -> list[bool]:
        """Remove messages whose tasks have not ended: who waits for their end goes on waiting."""

    @abstractmethod
    def ret_many(
        self, messages: Iterable[Message], reason: str = "", *, head: bool = True
    ) -> list[bool]:
        """Return messages to the queue; False for each whose claim is no longer valid."""

    @abstractmethod
    def heartbeat(self, worker: str, messages: Sequence[Message], *, lease: float) -> list[Message]:
        """Report ``worker`` alive and renew its leases for ``lease`` seconds."""

    @abstractmethod
    def recover(
        self,
        *,
        limit: int = 500,
        channel: str = "",
        reason: str = "lease expired",
        policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> RecoveryCounts:
        """Recover up to ``limit`` claims whose lease has expired, by their channel's policy."""

    @abstractmethod
    def seconds_to_next_expiry(self) -> float:
        """Seconds until the first lease expires; infinity without leases."""

    @abstractmethod
    def adopt(self, *, count: int = 1000) -> int:
        """Add leases to the claims of stock clients; returns the number of leases added."""

    @abstractmethod
    def expire_leases(self, workers: Iterable[str]) -> int:
        """End the leases of workers that are known to be dead; returns the number of claims."""

    @abstractmethod
    def wake(self) -> None:
        """End the wait of every blocking ``claim`` of this process now."""

    @abstractmethod
    def has_lost_data(self) -> bool:
        """Whether the marker is missing: Redis was flushed, restarted empty, or replaced."""

    @abstractmethod
    def write_marker(self) -> bool:
        """Write the marker, by which ``has_lost_data`` recognises a Redis that kept its data."""

    @abstractmethod
    def missing(self, channel: str, ids: Collection[str]) -> list[str]:
        """The messages of ``ids`` that are neither queued in the channel nor claimed."""

    @abstractmethod
    def cancel_many(self, channel: str, ids: Iterable[str]) -> None:
        """Cancel unfinished messages: remove them from the queue and revoke their claims."""

    @abstractmethod
    def waiting(self, channel: str) -> int:
        """The number of queued messages of the channel."""

    @abstractmethod
    def place(self, channel: str, message_id: str, *, limit: int = 1000) -> int | None:
        """How many messages are claimed before this one; None if it is not among the next ones."""

    @abstractmethod
    def running(self, channel: str) -> int:
        """The number of claimed messages of the channel (of a stock client: once adopted)."""

    @abstractmethod
    def check_rights(self) -> None:
        """Raise QueueRefused, with their names, if the user of Redis lacks commands or keys."""

    @abstractmethod
    def version(self) -> str:
        """The version of the Redis server; empty if the user of Redis may not read it."""

    @abstractmethod
    def check_server(self) -> list[str]:
        """Check version and settings of the Redis server; returns one warning per risk."""

    @abstractmethod
    def query(self, id: str, timeout: float = 0) -> dict[str, Any] | None:  # noqa: A002 - as simqcore's
        """The message's fields, as soon as it is finished or after ``timeout`` seconds."""

    @abstractmethod
    def dead_letter(self, message: Message, reason: str) -> bool:
        """Drop a message and add it to the channel's dead letters (the last 10 000 are kept)."""

    @abstractmethod
    def dead_letters(self, channel: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest ``limit`` dead letters of a channel, newest first."""

    @abstractmethod
    def dead_letter_count(self, channel: str) -> int:
        """The number of dead letters of the channel."""

    @abstractmethod
    def requeue_dead_letters(self, channel: str, limit: int = 1000) -> int:
        """Push the oldest ``limit`` dead letters of a channel again; returns their number."""

    @abstractmethod
    def requeue_dead_letter(self, channel: str, message_id: str) -> bool:
        """Push the newest dead letter of this message again; False if there is none to push."""

    @abstractmethod
    def report(self, worker: str, status: dict[str, object]) -> None:
        """Register ``worker``, or replace its report. Raises QueueUnavailable."""

    @abstractmethod
    def deregister_worker(self, worker: str) -> None:
        """Remove ``worker`` and its report. Raises QueueUnavailable."""

    @abstractmethod
    def workers(self, *, limit: int = 1000) -> list[Report]:
        """The reports of living workers, newest first. Raises QueueUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections; the next use opens new ones."""

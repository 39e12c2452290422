"""The queue of ``none://``: there is no Redis, nothing is pushed, and workers poll the tables."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ...exceptions import QueueUnavailable
from ..contract.task_queue import TaskQueue
from ..maintenance import RecoveryCounts
from ..messages import EncodedMessage, Message
from ..operations import Waiter
from ..simqcore_api import SimqcoreApi
from ..urls import NO_REDIS
from ..worker_registry import Report

_NO_RECOVERY = RecoveryCounts(returned=0, dropped=0, canceled=0, kept=0, cleared=0)


# The contract comes first: an operation that is missing here is abstract, not that of Redis.
class QueueWithoutRedis(TaskQueue, SimqcoreApi):
    """A queue that is always empty, and knows no workers; it makes no connection.

    ``claim`` waits as it does for Redis, and tells the worker by ``on_hint`` when tasks are due
    that this process itself has pushed. What only Redis could do raises QueueUnavailable.
    """

    has_messages = False

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._changed = threading.Condition()
        #: When the next task is due by ``time.monotonic()``, of the channels that this process
        #: claims. No later one: the look at that time finds when the next is due.
        self._due: dict[str, float] = {}
        self._wakes = 0

    def run(self, name: str, *args: Any, tries: int = 2) -> NoReturn:
        raise QueueUnavailable(f"There is no Redis ({NO_REDIS}).")

    def run_each(
        self, name: str, batches: Iterable[Sequence[bytes | str]], *shared: str
    ) -> NoReturn:
        self.run(name)

    def ask(
        self,
        command: Callable[[], object],
        *,
        tries: int = 2,
        key: str = "",
        is_optional: bool = False,
    ) -> NoReturn:
        raise QueueUnavailable(f"There is no Redis ({NO_REDIS}).")

    def push(
        self,
        channel: str,
        messages: Iterable[tuple[str, Any]],
        *,
        urgent: bool = False,
        take_over: bool = False,
        priorities: Mapping[str, int] | None = None,
    ) -> list[str]:
        number = len(list(messages))
        self._note(channel, [0.0] if number else [])
        return ["pushed"] * number

    def push_encoded(
        self,
        channel: str,
        messages: Sequence[EncodedMessage],
        priorities: Sequence[int],
        *,
        urgent: bool = False,
        take_over: bool = False,
    ) -> list[bytes]:
        self._note(channel, [0.0] if messages else [])
        return [b"pushed"] * len(messages)

    def _push(self, *args: Any, **options: Any) -> NoReturn:
        self.run("push")  # of the stock client: no worker would find the message

    def push_hints(self, channel: str, hints: Iterable[tuple[str, float]]) -> None:
        self._note(channel, [seconds for _, seconds in hints])

    def _note(self, channel: str, seconds: Iterable[float]) -> None:
        with self._changed:
            if channel in self._due:
                now = time.monotonic()
                self._due[channel] = min([self._due[channel], *(now + later for later in seconds)])
                self._changed.notify_all()

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
        with self._changed:
            self._due.setdefault(channel, math.inf)
            wakes = self._wakes
            self._changed.wait_for(
                lambda: self._due[channel] < math.inf or self._wakes != wakes, timeout
            )
            due, self._due[channel] = self._due[channel], math.inf
        if due < math.inf and waiter is not None:
            waiter.on_hint([max(0.0, due - time.monotonic())])
        return []

    def wake(self) -> None:
        with self._changed:
            self._wakes += 1
            self._changed.notify_all()

    def stop_waiting(self, channel: str, waiter: Waiter) -> None:
        pass

    def ack_many(self, messages: Iterable[Message], result: object = True) -> list[bool]:
        return [False for _ in messages]

    def drop_many(self, messages: Iterable[Message]) -> list[bool]:
        return [False for _ in messages]

    def forget_many(self, messages: Iterable[Message]) -> list[bool]:
        return [False for _ in messages]

    def ret_many(
        self, messages: Iterable[Message], reason: str = "", *, head: bool = True
    ) -> list[bool]:
        return [False for _ in messages]

    def heartbeat(self, worker: str, messages: Sequence[Message], *, lease: float) -> list[Message]:
        return list(messages)

    def cancel_many(self, channel: str, ids: Iterable[str]) -> None:
        pass

    def missing(self, channel: str, ids: Collection[str]) -> list[str]:
        return []  # none is expected

    def recover(
        self,
        *,
        limit: int = 500,
        channel: str = "",
        reason: str = "lease expired",
        policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> RecoveryCounts:
        return _NO_RECOVERY

    def seconds_to_next_expiry(self) -> float:
        return math.inf

    def adopt(self, *, count: int = 1000) -> int:
        return 0

    def expire_leases(self, workers: Iterable[str]) -> int:
        return 0

    def has_lost_data(self) -> bool:
        return False

    def write_marker(self) -> bool:
        return False

    def waiting(self, channel: str) -> int:
        return 0

    def running(self, channel: str) -> int:
        return 0

    def place(self, channel: str, message_id: str, *, limit: int = 1000) -> int | None:
        return None

    def query(self, id: str, timeout: float = 0) -> dict[str, Any] | None:  # noqa: A002 - as simqcore's
        return None

    def dead_letter(self, message: Message, reason: str) -> bool:
        return False

    def dead_letters(self, channel: str, limit: int = 100) -> list[dict[str, Any]]:
        return []

    def dead_letter_count(self, channel: str) -> int:
        return 0

    def requeue_dead_letters(self, channel: str, limit: int = 1000) -> int:
        return 0

    def requeue_dead_letter(self, channel: str, message_id: str) -> bool:
        return False

    def report(self, worker: str, status: dict[str, object]) -> None:
        pass

    def deregister_worker(self, worker: str) -> None:
        pass

    def workers(self, *, limit: int = 1000) -> list[Report]:
        return []

    def close(self) -> None:
        pass

    def check_rights(self) -> None:
        pass

    def version(self) -> str:
        return ""

    def check_server(self) -> list[str]:
        return []

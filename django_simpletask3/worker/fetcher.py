"""The thread that claims messages of one model and starts their tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypedDict

from ..conf.options import options
from ..exceptions import QueueUnavailable
from ..execution.run import Run
from ..execution.settle import return_messages
from ..execution.start import start, start_without_queue
from ..queue import Message, Waiter, get_queue
from .leases import Leases
from .loop import StopRequest
from .pipeline import ModelPipeline
from .retry_queue import RetryQueue

_CHECK_SECONDS = 0.2  # seconds after which a full lane looks whether to stop
_BURST_PAUSE = 0.05
#: So many messages are kept to be tried again; others come back when their leases end. More than
#: a fetcher holds: recovery may lock as many rows at once.
_MAX_POSTPONED = 1000
_PAUSED_SECONDS = 0.2
_GROWTH_FACTOR = 4  # times what was found last may be found next
_IDLE_PAUSE = 0.001  # long enough for the loop to close a stale connection


class ClaimArguments(TypedDict):
    """In whose name, and for how long, tasks are claimed."""

    worker: str
    lease: float


class Fetcher:
    """One step claims what the lane has room for; see Loop for the rest."""

    def __init__(
        self,
        lane: ModelPipeline,
        leases: Leases,
        stopping: StopRequest,
        *,
        burst: bool,
        is_deaf: Callable[[], bool] = lambda: False,
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_paused = is_paused
        # Redis may be empty because it takes no messages, and no bell can be rung.
        self._is_deaf = is_deaf
        self._lane = lane
        self._leases = leases
        self._stopping = stopping
        self._burst = burst
        self._claimed: list[Message] = []
        self._last_found = 0
        self._postponed: RetryQueue[Message] = RetryQueue()
        self._seat = Waiter()
        self._claimant: ClaimArguments = {"worker": lane.worker, "lease": lane.lease}

    def step(self) -> float:
        """Claim and start; seconds to rest, 0 while there is work.

        What the database could not start is kept and tried again: a start whose commit was not
        answered is recognised by the same claim only. What it cannot start alone holds up nothing
        else. While the queue is paused nothing is claimed, and what was goes back.
        """
        if self._is_paused():
            self.return_messages("queue_paused")
            self.stop_waiting()
            self._lane.empty_at = time.monotonic()  # a burst does not wait for it
            return _PAUSED_SECONDS
        if not self._claimed:
            self._claimed = self._postponed.pop_due()
        if not self._claimed and not self._claim():
            return _BURST_PAUSE if self._burst else _IDLE_PAUSE
        if not self._is_paused():  # it may have been while this one waited for a message
            self._start()
        return 0.0

    def return_messages(self, reason: str = "worker_stopping") -> None:
        """Return what was claimed and never started."""
        return_messages([*self._claimed, *self._postponed.all()], reason)
        self._claimed, self._postponed = [], RetryQueue()

    def stop_waiting(self) -> None:
        """Wait for messages no more; nobody may be waiting just now."""
        with suppress(QueueUnavailable):  # then its end comes by itself
            get_queue().stop_waiting(self._lane.channel, self._seat)

    def _claim(self) -> bool:
        room = self._lane.capacity(_CHECK_SECONDS)
        if not room:
            return False
        asked_at = time.monotonic()
        try:
            self._claimed = self._claim_messages(room)
        except QueueUnavailable:
            # The table tells as well, more slowly: the pace is that of the loop's errors.
            if not self._stopping.is_requested and not self._started_without_queue(room):
                raise
            return False
        if not self._claimed and not self._postponed:
            if not self._burst and self._is_deaf() and self._started_without_queue(room):
                return False
            self._lane.empty_at = asked_at
        return bool(self._claimed)

    def _started_without_queue(self, room: int) -> bool:
        """Whether there was something to start in the table, of which no message tells."""
        runs = start_without_queue(self._lane.model, room, **self._claimant)
        self._accept(runs)
        return bool(runs)

    def _claim_messages(self, room: int) -> list[Message]:
        timeout = 0.0 if self._burst else options.simq_pop_timeout
        rest = self._postponed.seconds_until_due()
        # Where few came, few will: to look for hundreds takes Redis twice as long.
        limit = min(room, self._lane.threads + _GROWTH_FACTOR * self._last_found)
        messages = get_queue().claim(
            self._lane.channel,
            worker=self._lane.worker,
            limit=limit,
            lease=self._lane.message_lease,
            timeout=timeout if rest is None else min(timeout, rest),
            waiter=self._seat,
        )
        self._last_found = len(messages)
        return messages

    def _start(self) -> None:
        if not self._stopping.is_requested:
            claimed = self._claimed
            runs, again = start(self._lane.model, claimed, **self._claimant)
            self._claimed = []
            self._accept(runs)
            self._postpone(claimed, again)

    def _postpone(self, tried: list[Message], again: list[Message]) -> None:
        kept = again[: max(0, _MAX_POSTPONED - len(self._postponed))]
        self._postponed.remove(set(tried) - set(kept))
        self._postponed.put(kept)

    def _accept(self, runs: list[Run]) -> None:
        self._leases.add(runs, self._lane)
        self._lane.accept(runs)

"""The thread that claims messages of one model and starts their tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from ..conf.options import options
from ..exceptions import QueueUnavailable
from ..execution.settle import return_messages
from ..queue import Message, Waiter, get_queue
from .databases.starts import Starts
from .leases import Leases
from .loop import StopRequest
from .pipeline import ModelPipeline

_CHECK_SECONDS = 0.2  # longest wait for capacity before the stop request is checked again
_BURST_PAUSE = 0.05
#: In a burst: seconds without another try after Redis failed, and between two looks at the table.
_NO_REDIS_SECONDS, _TABLE_SECONDS = 2.0, 1.0
_PAUSED_SECONDS = 0.2
_SICK_PAUSE = 0.1  # while no database answers
_GROWTH_FACTOR = 4  # a claim asks for at most this many times what the last one found
_IDLE_PAUSE = 0.001  # any pause lets the loop close a stale connection


class Fetcher:
    """Claims as many messages as the pipeline has capacity for, and starts their tasks."""

    def __init__(
        self,
        pipeline: ModelPipeline,
        leases: Leases,
        stop: StopRequest,
        *,
        burst: bool,
        last_activity: Callable[[], float] = lambda: 0.0,
        is_push_failing: Callable[[], bool] = lambda: False,
        is_paused: Callable[[], bool] = lambda: False,
        on_hint: Callable[[Iterable[float]], object] = lambda seconds: None,
    ) -> None:
        self._is_paused = is_paused
        # An empty queue proves nothing while messages cannot be pushed.
        self._is_push_failing = is_push_failing
        self._pipeline = pipeline
        self._stop = stop
        self._burst = burst
        #: When a task last was claimed, performed or recorded, by ``time.monotonic()``.
        self._last_activity = last_activity
        self._no_redis_until = 0.0
        self._claimed: list[Message] = []
        self._last_found = 0
        self._starts = Starts(pipeline, leases)
        self._waiter = Waiter(on_hint=on_hint)

    def step(self) -> float:
        """Claim messages and start their tasks; the seconds to pause, 0 while there is work.

        Messages whose tasks the database could not start are kept and tried again: only the same
        claim recognises a start whose commit was not answered. They do not delay other tasks.
        While the queue is paused nothing is claimed, and claimed messages are returned.
        """
        if self._is_paused():
            self.return_messages("queue_paused")
            self.stop_waiting()
            self._pipeline.empty_at = time.monotonic()  # a burst does not wait for a paused queue
            return _PAUSED_SECONDS
        if not self._claimed:
            self._claimed = self._starts.pop_due()
        if not self._claimed and self._starts.are_all_sick:
            return _SICK_PAUSE
        if not self._claimed and not self._claim():
            return _BURST_PAUSE if self._burst else _IDLE_PAUSE
        if not self._is_paused():  # it may have been paused during the wait for a message
            self._start()
        return 0.0

    def return_messages(self, reason: str = "worker_stopping") -> None:
        """Return the messages that were claimed and not started to the queue."""
        return_messages([*self._claimed, *self._starts.pop_all()], reason)
        self._claimed = []

    def stop_waiting(self) -> None:
        """Unregister the wait for messages. No thread may be blocked in it."""
        with suppress(QueueUnavailable):  # Redis forgets the wait by itself
            get_queue().stop_waiting(self._pipeline.channel, self._waiter)

    def _claim(self) -> bool:
        room = self._pipeline.capacity(_CHECK_SECONDS)
        if not room:
            return False
        checked_at = time.monotonic()
        if self._burst:
            self._claim_in_burst(room, checked_at)
            return bool(self._claimed)
        try:
            self._claimed = self._claim_messages(room)
        except QueueUnavailable:
            # The table names due tasks too; the loop retries at the pace of its errors.
            if not self._stop.is_requested and not self._starts.start_without_queue(room):
                raise
            return False
        if not self._claimed and self._starts.is_idle:
            if self._is_push_failing() and self._starts.start_without_queue(room):
                return False
            self._pipeline.empty_at = checked_at
        return bool(self._claimed)

    def _claim_in_burst(self, room: int, checked_at: float) -> None:
        """Claim messages or, if there are none or Redis is away, start due tasks of the table.

        The table is empty for a burst when it has no due task left: messages may be lost. While
        nothing happens that could have made a task due, it is looked at once a second.
        """
        if checked_at >= self._no_redis_until:
            try:
                self._claimed = self._claim_messages(room)
            except QueueUnavailable:
                self._no_redis_until = time.monotonic() + _NO_REDIS_SECONDS
        has_changed = self._pipeline.empty_at <= self._last_activity()
        is_time = has_changed or checked_at - self._pipeline.empty_at >= _TABLE_SECONDS
        if self._claimed or self._stop.is_requested or not (self._starts.is_idle and is_time):
            return
        if not self._starts.start_from_table(room) and not self._starts.is_any_sick:
            self._pipeline.empty_at = checked_at

    def _claim_messages(self, room: int) -> list[Message]:
        timeout = 0.0 if self._burst else options.simq_pop_timeout
        rest = self._starts.seconds_until_due()
        # Few messages came last time: asking for hundreds takes Redis twice as long.
        limit = min(room, self._pipeline.threads + _GROWTH_FACTOR * self._last_found)
        with self._pipeline.looking() as found:
            messages = get_queue().claim(
                self._pipeline.channel,
                worker=self._pipeline.worker,
                limit=limit + self._pipeline.extra,
                lease=self._pipeline.message_lease,
                timeout=timeout if rest is None else min(timeout, max(0.0, rest)),
                waiter=self._waiter,
            )
            found.extend(messages)
        self._last_found = len(messages)
        return messages

    def _start(self) -> None:
        if not self._stop.is_requested:
            self._starts.start(self._claimed)
            self._claimed = []

"""The thread that claims messages of one model and starts their tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from ..conf.options import options
from ..exceptions import QueueUnavailable
from ..execution.run import Run
from ..execution.settle import return_messages
from ..queue import Message, Waiter, get_queue
from ..signals import has_receivers
from .databases.starts import Starts
from .databases.table_poller import TablePoller
from .finisher import Outcomes
from .leases import Leases
from .loop import StopRequest
from .pipeline import ModelPipeline

_CHECK_SECONDS = 0.2  # longest wait for capacity before the stop request is checked again
#: In a burst: seconds without another try after Redis failed, and between two looks at the table.
_NO_REDIS_SECONDS, _TABLE_SECONDS = 2.0, 1.0
_PAUSED_SECONDS = 0.2
_SICK_PAUSE = 0.1  # while no database answers
#: Without Redis: seconds between two looks whether a task may be due.
_STEP_SECONDS = 0.2
_GROWTH_FACTOR = 4  # a claim asks for at most this many times what the last one found
#: A task that was claimed after a longer wait is alone.
_IDLE_SECONDS = 0.02
#: Any pause lets the loop close a stale connection.
_IDLE_PAUSE, _BURST_PAUSE = 0.001, 0.05


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
        may_be_due: Callable[[float], bool] = lambda since: True,
        outcomes: Outcomes | None = None,
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
        self._waited_seconds = 0.0
        #: Records a lone task; otherwise that is left to the finisher.
        self._outcomes = outcomes
        self._starts = Starts(pipeline, leases)
        self._waiter = Waiter(on_hint=self._note_hints)
        self._on_hint = on_hint
        # A burst ends when it has tried each row.
        self._poller = TablePoller(
            pipeline,
            self._starts,
            self._may_be_due_in_burst if burst else may_be_due,
            tries_again=not burst,
        )

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
        if not self._claimed and not self._find():
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

    def _find(self) -> bool:
        """Claim messages, or start tasks of the table; whether there were any."""
        room = self._pipeline.capacity(_CHECK_SECONDS)
        if not room or self._stop.is_requested:
            return False
        if self._burst:
            return self._find_in_burst(room)
        if get_queue().has_messages:
            return self._find_messages(room)
        if self._poller.poll(room, only_overdue=True):
            return True
        self._claim_messages(room, _STEP_SECONDS)  # none, but it waits for a push of this process
        return False

    def _find_messages(self, room: int) -> bool:
        checked_at = time.monotonic()
        try:
            self._claimed = self._claim_messages(room, options.simq_pop_timeout)
        except QueueUnavailable:
            # The table names due tasks too; the loop retries at the pace of its errors.
            if self._stop.is_requested or not self._poller.look(room, only_overdue=True):
                raise
            return True
        if not self._claimed and self._starts.is_idle:
            if self._is_push_failing():
                return self._poller.look(room, only_overdue=True)
            self._pipeline.empty_at = checked_at
        return bool(self._claimed)

    def _find_in_burst(self, room: int) -> bool:
        """Claim messages or, if there are none or Redis is away, start due tasks of the table.

        The table is empty for a burst when it has no due task left: messages may be lost.
        """
        if time.monotonic() >= self._no_redis_until:
            try:
                self._claimed = self._claim_messages(room, 0.0)
            except QueueUnavailable:
                self._no_redis_until = time.monotonic() + _NO_REDIS_SECONDS
        if self._claimed:
            return True
        if self._stop.is_requested or not self._starts.is_idle:
            return False
        return self._poller.poll(room, only_overdue=False)

    def _may_be_due_in_burst(self, since: float) -> bool:
        """While nothing happens that could make a task due, the table is read once a second."""
        return since <= self._last_activity() or time.monotonic() - since >= _TABLE_SECONDS

    def _note_hints(self, seconds: Iterable[float]) -> None:
        moments = list(seconds)
        if min(moments, default=1.0) <= 0:
            self._poller.look_soon()
        self._on_hint(moments)

    def _claim_messages(self, room: int, timeout: float) -> list[Message]:
        rest = self._starts.seconds_until_due()
        # Few messages came last time: asking for hundreds takes Redis twice as long.
        limit = min(room, self._pipeline.threads + _GROWTH_FACTOR * self._last_found)
        began = time.monotonic()
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
        self._last_found, self._waited_seconds = len(messages), time.monotonic() - began
        return messages

    def _start(self) -> None:
        if self._claimed and not self._stop.is_requested:
            if self._may_record():
                self._pipeline.await_lone_run()
            try:
                self._starts.start(self._claimed)
                self._claimed = []
            finally:
                self._record(self._pipeline.take_awaited())

    def _may_record(self) -> bool:
        """Whether this thread may record the outcome of a task that it starts alone.

        The session that starts it is warm. Only after a wait, so that no other task is delayed;
        and not if a receiver is called then, which may take long.
        """
        return (
            self._outcomes is not None
            and self._waited_seconds >= _IDLE_SECONDS
            and self._starts.has_one_database
            and not has_receivers(self._pipeline.model)
        )

    def _record(self, runs: list[Run]) -> None:
        """Record ``runs``, but leave failures to the finisher: to log one may take long."""
        outcomes = self._outcomes
        succeeded = [run for run in runs if run.error is None and run.undecided is None]
        left = [run for run in runs if run not in succeeded]
        try:
            if outcomes is not None and succeeded:
                left += outcomes.record(succeeded)
        except BaseException:
            if outcomes is not None:
                held = outcomes.leases.running()
                left += [run for run in succeeded if run in held]  # the others were recorded
            raise
        finally:
            for run in left:
                self._pipeline.outbox_of(run.using).put(run)

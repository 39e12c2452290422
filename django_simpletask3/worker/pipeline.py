"""The runs of one task model in one process, between claim and recorded outcome."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from ..conf.leases import policy_of
from ..execution.isolation import RunAlone
from ..execution.run import Run
from ..limits.declared import has_limit
from ..models.task import SimpleTask

#: Seconds of work that may be claimed beyond what the free threads take at once.
_READ_AHEAD_SECONDS = 0.05
_MAX_READ_AHEAD = 200
#: Messages that are claimed beyond the free threads while most tasks find their limits reached.
_FIRST_EXTRA, _MAX_EXTRA = 8, 100
#: Seconds for which no work is claimed ahead after a limit was reached.
_REACHED_SECONDS = 10.0
#: Runs that are recorded in one batch.
MAX_BATCH = 200
MESSAGE_LEASE = 30.0
_YIELD_SECONDS = 0.0001
#: How long the fetcher waits for the end of a run that it has started, to record it itself.
_AWAIT_SECONDS = 0.002
#: A look that takes longer has found no message, and waits for one.
_LOOK_SECONDS = 0.02


class ModelPipeline:
    """The runs of one model: claimed ones wait in ``inbox``, performed ones in an outbox.

    Each database has its own outbox: a finisher whose database hangs delays no other.
    """

    def __init__(self, model: type[SimpleTask], threads: int, worker: str) -> None:
        self.model = model
        self.threads = threads
        self.worker = worker
        self.is_limited = has_limit(model)
        self.channel = model.get_event_channel()
        policy = policy_of(self.channel)
        self.lease, self.renewal_interval = policy.lease, policy.renewal_interval
        # The lease of the row decides. The one of the message is short: if the reply to a claim is
        # lost, no worker renews it, and the message returns soon.
        self.message_lease = min(self.lease, MESSAGE_LEASE)
        self.inbox: SimpleQueue[Run | None] = SimpleQueue()
        self._outboxes: dict[str, SimpleQueue[Run | None]] = {}
        #: Called with the alias of each database that gets an outbox.
        self.on_outbox: Callable[[str], object] = lambda using: None
        self.run_alone: RunAlone | None = None
        #: Tells whether the process was asked to stop, and whether the queue is paused.
        self.is_stopping: Callable[[], bool] = lambda: False
        self.is_paused: Callable[[], bool] = lambda: False
        #: Whether the last look found no message, and when one began that goes on.
        self._has_found_none = False
        self._looks_since: float | None = None
        self.empty_at = 0.0  # when the queue was last seen empty
        self.active_at = time.monotonic()  # when a run last was claimed, performed or recorded
        #: How many messages to claim beyond the capacity, because most tasks will not start.
        self.extra = 0
        self._limit_reached_at = -math.inf
        self._held = self._reserved = 0
        #: Whether the fetcher awaits the next lone run, which that is, and whether it has ended.
        self._is_awaiting = self._has_awaited_ended = False
        self._awaited: Run | None = None
        self._mean_seconds: float | None = None  # unknown until one run has ended
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """The number of claimed runs whose task function has not ended."""
        return self._held

    def capacity(self, timeout: float) -> int:
        """How many more runs may be claimed; waits up to ``timeout`` seconds for capacity.

        While runs wait in the inbox, capacity is only reported when it is worth a batch.
        """
        with self._changed:
            self._changed.wait_for(self._has_capacity, timeout)
            return self.threads + self._read_ahead() - self._held if self._has_capacity() else 0

    def _has_capacity(self) -> bool:
        ahead = self._read_ahead()
        return self.threads + ahead - self._held >= max(1, ahead // 2)

    def _read_ahead(self) -> int:
        # A task that waits in the inbox would hold a place for which others wait.
        if self.is_limited and time.monotonic() - self._limit_reached_at < _REACHED_SECONDS:
            return 0
        # Short tasks are claimed in large batches; long ones stay available to other nodes.
        if self._mean_seconds is None:
            return 0
        return min(
            int(_READ_AHEAD_SECONDS * self.threads / max(self._mean_seconds, 1e-4)), _MAX_READ_AHEAD
        )

    def record_starts(self, claimed: int, started: int) -> None:
        """Claim more messages next time if the limits of most tasks were reached, else none extra.

        After one was reached, none are claimed for some seconds that the threads cannot begin. So
        many tasks of one key that wait do not hold up those of another for long.
        """
        if self.is_limited and started < claimed:
            self._limit_reached_at = time.monotonic()
        is_reached = self.is_limited and started * 2 < claimed
        self.extra = min(max(_FIRST_EXTRA, 2 * self.extra), _MAX_EXTRA) if is_reached else 0

    def accept(self, runs: list[Run]) -> None:
        """Put claimed runs into the inbox of the task threads."""
        for using in {run.using for run in runs}:
            self.outbox_of(using)
        with self._changed:
            was_idle = self._held == 0
            self._held += len(runs)
            self.active_at = time.monotonic()
            if self._is_awaiting and len(runs) == 1:
                [self._awaited] = runs
        for run in runs:
            run.is_worker_stopping = self.is_stopping
            self.inbox.put(run)
        if was_idle and self._awaited is None:
            # Yield the interpreter to a waiting task thread now, not when the caller next blocks.
            time.sleep(_YIELD_SECONDS)

    def await_lone_run(self) -> None:
        """Keep the next run that is accepted from the outbox, if it is one and ends soon.

        The caller must take it by ``take_awaited``. If functions take longer, none is kept.
        """
        is_soon = self._mean_seconds is None or self._mean_seconds < _AWAIT_SECONDS
        self._is_awaiting = is_soon and not self.is_limited

    def take_awaited(self) -> list[Run]:
        """Wait up to 2 ms for the awaited run; it, or nothing. Later it goes to the outbox."""
        with self._changed:
            if self._awaited is not None:
                self._changed.wait_for(lambda: self._has_awaited_ended, _AWAIT_SECONDS)
            ended = [self._awaited] if self._awaited and self._has_awaited_ended else []
            self._is_awaiting = self._has_awaited_ended = False
            self._awaited = None
        return ended

    @contextmanager
    def looking(self) -> Iterator[list[object]]:
        """A look of the fetcher for messages: those found are put into the list."""
        found: list[object] = []
        self._looks_since = time.monotonic()
        try:
            yield found
            self._has_found_none = not any(found)
        finally:
            # First this: while messages are there, the other one is False by now.
            self._looks_since = None

    @property
    def reserved(self) -> int:
        """The number of threads that are reserved for tasks whose start is not committed yet."""
        return self._reserved

    def reserve_thread(self) -> bool:
        """Reserve a free thread for a task without a message; False if there is none for it.

        While messages wait, or the process claims no more, their tasks come first.
        """
        with self._changed:
            is_free = self._held < self.threads and self._is_queue_empty()
            if not is_free or self.is_stopping() or self.is_paused():
                return False
            self._held += 1
            self._reserved += 1
            return True

    def _is_queue_empty(self) -> bool:
        """Whether the fetcher has found no message when it last looked, or is waiting for one."""
        since = self._looks_since
        is_waiting = since is not None and time.monotonic() - since > _LOOK_SECONDS
        return self._has_found_none or is_waiting

    def give_back_threads(self, number: int) -> None:
        """Give back reserved threads for which there is no task."""
        with self._changed:
            self._reserved -= number
        self.discard(number)

    def accept_reserved(self, runs: list[Run], threads: int) -> None:
        """As ``accept``, for runs without messages for which so many threads were reserved."""
        with self._changed:
            self._held -= threads
            self._reserved -= threads
            self._limit_reached_at = time.monotonic()
        self.accept(runs)

    def mark_performed(self, run: Run) -> None:
        """Put a run whose task function has ended into the outbox, unless it is awaited."""
        outbox = self.outbox_of(run.using)
        was_awaited = run is self._awaited
        if not was_awaited:  # it cannot become it any more
            outbox.put(run)
        with self._changed:
            if run is self._awaited:
                self._has_awaited_ended = True
                self._changed.notify_all()
            elif was_awaited:
                outbox.put(run)
            self._held -= 1
            self.active_at = time.monotonic()
            before = run.seconds if self._mean_seconds is None else self._mean_seconds
            self._mean_seconds = before + 0.2 * (run.seconds - before)
            if self._has_capacity():  # do not wake a fetcher that must go on waiting
                self._changed.notify_all()

    def discard(self, runs: int) -> None:
        """Subtract ``runs`` that were returned to the queue without being performed."""
        with self._changed:
            self._held -= runs
            self._changed.notify_all()

    def outbox_of(self, using: str) -> SimpleQueue[Run | None]:
        """The performed runs of ``using`` that wait for its finisher."""
        if (known := self._outboxes.get(using)) is not None:
            return known
        with self._changed:
            is_new = using not in self._outboxes
            outbox = self._outboxes.setdefault(using, SimpleQueue())
        if is_new:
            self.on_outbox(using)
        return outbox

    def close_outboxes(self) -> None:
        """End the finishers, once they have recorded what is in the outboxes."""
        for outbox in list(self._outboxes.values()):
            outbox.put(None)

    def next_batch(self, using: str, timeout: float | None = None) -> list[Run] | None:
        """The performed runs in the outbox of ``using``, at most 200; waits for the first one.

        [] if none came within ``timeout`` seconds; None if the outbox was closed.
        """
        outbox = self.outbox_of(using)
        try:
            first = outbox.get(timeout=timeout)
        except Empty:
            return []
        if first is None:
            return None
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                following = outbox.get_nowait()
            except Empty:
                break
            if following is None:
                outbox.put(None)
                break
            batch.append(following)
        return batch

    def drain_inbox(self) -> list[Run]:
        """Remove and return the runs in the inbox that no task thread has begun."""
        taken: list[Run] = []
        while True:
            try:
                run = self.inbox.get_nowait()
            except Empty:
                return taken
            if run is not None:
                taken.append(run)

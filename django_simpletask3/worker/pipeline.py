"""What one process holds of one task model's work between claim and record."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

from ..conf.leases import policy_of
from ..execution.run import Run
from ..models.task import SimpleTask

#: How much work, in seconds, may be held beyond what the free threads take at once.
_READ_AHEAD_SECONDS = 0.05
_MAX_READ_AHEAD = 200
_MAX_BATCH = 200
MESSAGE_LEASE = 30.0
_YIELD_SECONDS = 0.0001


class ModelPipeline:
    """The runs of one model: claimed ones wait in ``inbox``, performed ones in ``outbox``."""

    def __init__(self, model: type[SimpleTask], threads: int, worker: str) -> None:
        self.model = model
        self.threads = threads
        self.worker = worker
        self.channel = model.get_event_channel()
        policy = policy_of(self.channel)
        self.lease, self.beat = policy.lease, policy.renewal_interval
        # The row's lease decides. That of the message is short: if the answer to a claim is lost,
        # nobody renews it, and the message comes back soon.
        self.message_lease = min(self.lease, MESSAGE_LEASE)
        self.inbox: SimpleQueue[Run | None] = SimpleQueue()
        self.outbox: SimpleQueue[Run | None] = SimpleQueue()
        self.empty_at = 0.0  # when the queue was last seen empty
        self.active_at = time.monotonic()  # when a run last was claimed, performed or recorded
        self._held = 0
        self._body_seconds: float | None = None  # nothing is known before one has ended
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Runs that are claimed and whose bodies have not ended."""
        return self._held

    def capacity(self, timeout: float) -> int:
        """How many more runs may be claimed; waits up to ``timeout`` seconds for some.

        While there is work in store, that is as many as make a batch.
        """
        with self._changed:
            self._changed.wait_for(self._has_capacity, timeout)
            return self.threads + self._read_ahead() - self._held if self._has_capacity() else 0

    def _has_capacity(self) -> bool:
        ahead = self._read_ahead()
        return self.threads + ahead - self._held >= max(1, ahead // 2)

    def _read_ahead(self) -> int:
        # Short bodies are fetched in large batches; long ones stay available to other nodes.
        if self._body_seconds is None:
            return 0
        return min(
            int(_READ_AHEAD_SECONDS * self.threads / max(self._body_seconds, 1e-4)), _MAX_READ_AHEAD
        )

    def accept(self, runs: list[Run]) -> None:
        """Hand claimed runs to the bodies."""
        with self._changed:
            was_idle = self._held == 0
            self._held += len(runs)
            self.active_at = time.monotonic()
        for run in runs:
            self.inbox.put(run)
        if was_idle:
            # A body that slept gets the interpreter now, not when the caller waits for a server.
            time.sleep(_YIELD_SECONDS)

    def mark_performed(self, run: Run) -> None:
        """Hand a run whose body has ended to the finisher."""
        self.outbox.put(run)
        with self._changed:
            self._held -= 1
            self.active_at = time.monotonic()
            before = run.seconds if self._body_seconds is None else self._body_seconds
            self._body_seconds = before + 0.2 * (run.seconds - before)
            if self._has_capacity():  # a fetcher that has to wait on is not woken for each
                self._changed.notify_all()

    def discard(self, runs: int) -> None:
        """Count out runs that were given back unperformed."""
        with self._changed:
            self._held -= runs
            self._changed.notify_all()

    def next_batch(self, timeout: float | None = None) -> list[Run] | None:
        """The next performed runs, as many as have gathered; waits for one.

        [] if none came within ``timeout`` seconds; None means: the end.
        """
        try:
            first = self.outbox.get(timeout=timeout)
        except Empty:
            return []
        if first is None:
            return None
        batch = [first]
        while len(batch) < _MAX_BATCH:
            try:
                following = self.outbox.get_nowait()
            except Empty:
                break
            if following is None:
                self.outbox.put(None)
                break
            batch.append(following)
        return batch

    def drain_inbox(self) -> list[Run]:
        """Take out of the inbox what no body has begun."""
        taken: list[Run] = []
        while True:
            try:
                run = self.inbox.get_nowait()
            except Empty:
                return taken
            if run is not None:
                taken.append(run)

"""The thread that records the outcomes of one model's runs in one database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

from django.db import DEFAULT_DB_ALIAS, Error, connections

from ..db.errors import is_transient, may_be_transient
from ..exceptions import SimpleTaskError
from ..execution.finish import finish
from ..execution.isolation import may_have_to_run_alone
from ..execution.outcomes.log import log_outcome
from ..execution.run import Run
from ..ledger.task_row import TaskRow
from ..limits.successors import Host, Successors
from ..logs import get_logger
from ..models.task import SimpleTask
from ..states import EventKind
from . import connections as worker_connections
from .leases import Leases
from .node.counters import Counters
from .pipeline import ModelPipeline
from .retry_queue import RetryQueue
from .watch.activity import Activity, Recorder

_logger = get_logger(__name__)

#: Seconds for which an idle database session is kept open.
_MAX_LINGER_SECONDS = 1.0
#: Outcomes after which the task is due again later.
_POSTPONED = frozenset({EventKind.RETRY, EventKind.SNOOZE})
#: How many tasks of a batch the supervisor knows of; of a larger one the first.
FINISHER_RECORDS = 16


class Outcomes:
    """Records the outcomes of one model's runs, with what follows from them in this process.

    Each thread that records has one of its own. ``on_retry`` is called when a task was recorded
    that is due again later.
    """

    def __init__(
        self,
        pipeline: ModelPipeline,
        leases: Leases,
        counters: Counters,
        on_retry: Callable[[], None] = lambda: None,
        recorder: Recorder | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.leases = leases
        self._counters = counters
        self._on_retry = on_retry
        self._recorder = recorder or Activity(0).recorder(0)

    def record(self, batch: list[Run], successors: Successors | None = None) -> list[Run]:
        """Record the outcomes of ``batch``; the runs to record again, after a transient error."""
        # A result may end the process, too, when it is encoded.
        self._recorder.begin(batch, is_limited=False)
        again, failed = _try_finish(batch, successors)
        self._recorder.end()
        ended = [run for run in batch if run not in again]
        if not ended:
            return again
        self.pipeline.active_at = time.monotonic()
        # Also of runs that cannot be recorded: recovery decides when their leases end.
        self.leases.remove(ended)
        recorded = [run for run in ended if run not in failed]
        self._counters.count(recorded)
        for run in recorded:
            log_outcome(run)
        for run in failed:
            _give_up(run)
        if any(run.transition and run.transition.kind in _POSTPONED for run in ended):
            self._on_retry()
        return again


class Finisher(threading.Thread):
    """Records outcomes in batches: runs that end during one commit form the next batch.

    Runs that cannot be recorded because of a transient error are retried, without a limit, while
    their leases are renewed; other runs are not delayed.
    """

    def __init__(self, outcomes: Outcomes, using: str = DEFAULT_DB_ALIAS) -> None:
        pipeline = outcomes.pipeline
        super().__init__(name=f"finisher-{pipeline.model._meta.label}@{using}", daemon=True)
        self._using = using
        self._outcomes = outcomes
        self._pipeline = pipeline
        self._leases = outcomes.leases
        self._postponed: RetryQueue[Run] = RetryQueue()
        self._successors = Successors(self._as_host()) if pipeline.is_limited else None
        self._is_ending = False
        self._is_connected = False

    def _as_host(self) -> Host:
        pipeline = self._pipeline
        return Host(
            pipeline.worker,
            pipeline.lease,
            self._may_start,
            pipeline.reserve_thread,
            pipeline.give_back_threads,
            self._accept,
        )

    def _may_start(self, task: TaskRow, using: str) -> bool:
        """Whether ``task``, which waited for a place, is one that this process claims."""
        pipeline = self._pipeline
        if type(task) is not pipeline.model or using != self._using:
            return False
        return pipeline.run_alone is None or not may_have_to_run_alone(task)

    def _accept(self, tasks: Sequence[TaskRow], threads: int) -> None:
        """Run tasks that were started with the places of those that have ended."""
        runs = [Run(cast("SimpleTask", task), self._pipeline.worker) for task in tasks]
        self._leases.add(runs, self._pipeline)
        self._pipeline.accept_reserved(runs, threads)

    def run(self) -> None:
        try:
            while batch := self._collect_batch():
                self._record(batch)
                worker_connections.close_broken()
                self._is_connected = True
        finally:
            connections.close_all()

    def _collect_batch(self) -> list[Run]:
        """Performed runs and runs to record again; waits for some. [] if the outbox was closed."""
        while not self._is_ending or self._postponed:
            batch = [*self._wait_for_runs(), *self._postponed.pop_due()]
            if batch:
                return batch
        return []

    def _wait_for_runs(self) -> list[Run]:
        rest = self._postponed.seconds_until_due()
        if self._is_ending:
            time.sleep(rest or 0.0)
            return []
        is_lingering = rest is None and self._is_connected
        arrived = self._pipeline.next_batch(
            self._using, timeout=_MAX_LINGER_SECONDS if is_lingering else rest
        )
        if is_lingering and not arrived:
            worker_connections.close_stale()
            self._is_connected = False
        self._is_ending = arrived is None
        return arrived or []

    def _record(self, batch: list[Run]) -> None:
        again = self._outcomes.record(batch, self._successors)
        self._postponed.put(again)
        self._postponed.remove([run for run in batch if run not in again])


def _try_finish(batch: list[Run], successors: Successors | None) -> tuple[list[Run], list[Run]]:
    """Record ``batch``; the runs to try again, and those that cannot be recorded at all."""
    try:
        remaining = finish(batch, successors)
    except BaseException as error:  # sys.exit() in a receiver does not end the thread
        _log_postponed_runs(batch, error)
        worker_connections.close_all()
        return batch, []
    again = [run for run in remaining if is_transient(_error_of(run))]
    if again:
        _log_postponed_runs(again, _error_of(again[0]))
    return again, [run for run in remaining if run not in again]


def _log_postponed_runs(runs: list[Run], error: BaseException | None) -> None:
    is_expected = isinstance(error, Error | SimpleTaskError) or may_be_transient(error)
    _logger.warning(
        "finish_postponed tasks=%s error=%s", len(runs), error, exc_info=not is_expected and error
    )


def _error_of(run: Run) -> Exception | None:
    return run.transition.error if run.transition else None


def _give_up(run: Run) -> None:
    label = run.task._meta.label
    _logger.error("finish_given_up model=%s pk=%s", label, run.pk, exc_info=_error_of(run))

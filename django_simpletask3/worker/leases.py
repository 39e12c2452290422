"""Renew the leases of the tasks that run in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import partial

from django.db import Error, connections

from ..db import clock
from ..exceptions import QueueUnavailable
from ..execution.run import Run
from ..limits.declared import has_limit
from ..limits.places import renew_places
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.queryset import rows_of
from ..queue import get_queue
from ..states import Status
from .pipeline import ModelPipeline
from .watch.superseded import SupersededRuns

_logger = get_logger(__name__)

_IDLE_SECONDS = 10.0
_STEP_SECONDS = 0.9  # between two looks whether a clock has jumped, or a run has been claimed
_RETRY_SECONDS = 1.0  # while a database cannot be reached; OutageGrace relies on it


class Leases:
    """The runs this process holds. Those that have lost their tasks are requested to stop."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._held: dict[Run, ModelPipeline] = {}
        self._lock = threading.Lock()
        self._renewed_at = self._next_renewal = float("-inf")
        self._superseded = SupersededRuns(worker, self.running)

    def add(self, runs: Iterable[Run], pipeline: ModelPipeline) -> None:
        """Renew the leases of ``runs`` until they are removed."""
        with self._lock:
            self._held.update(dict.fromkeys(runs, pipeline))

    def remove(self, runs: Iterable[Run]) -> None:
        """Stop renewing the leases of ``runs``."""
        with self._lock:
            for run in runs:
                self._held.pop(run, None)

    def running(self, pipeline: ModelPipeline | None = None) -> list[Run]:
        """The runs that are held now, of ``pipeline`` or of all."""
        with self._lock:
            return [run for run, where in self._held.items() if pipeline in (None, where)]

    def step(self, pipelines: Iterable[ModelPipeline]) -> float:
        """Renew all leases if it is time or a clock has jumped; the seconds until the next step.

        A lease in a row is a time of the database's clock: when that jumps, the lease may have
        ended.
        """
        moment = clock.steady()
        if moment >= self._next_renewal or self._has_clock_jumped():
            self._renewed_at = moment
            self._next_renewal = moment + self.renew(pipelines)
        rest = self._superseded.step()
        return min(_STEP_SECONDS, rest, max(0.0, self._next_renewal - clock.steady()))

    def _has_clock_jumped(self) -> bool:
        databases = {run.using for run in self.running()}
        return any(clock.has_jumped_since(using, self._renewed_at) for using in databases)

    def renew(self, pipelines: Iterable[ModelPipeline]) -> float:
        """Renew all leases in the databases; the seconds until the next renewal.

        A database that fails is logged and does not delay the others.
        """
        pipelines = list(pipelines)
        databases = {run.using for run in self.running()}
        renewed = in_each_database(partial(self._renew_in, pipelines=pipelines), sorted(databases))
        interval = _renewal_interval(pipelines)
        has_renewed_all = databases == {using for using in renewed if renewed[using]}
        return interval if has_renewed_all else min(interval, _RETRY_SECONDS)

    def _renew_in(self, using: str, pipelines: Iterable[ModelPipeline]) -> bool:
        """Renew the leases in one database; whether all could be renewed."""
        held = {p: [r for r in self.running(p) if r.using == using] for p in pipelines}
        results = [self._try_renew(using, p, runs) for p, runs in held.items() if runs]
        return all(results)

    def renew_claims(self, pipelines: Iterable[ModelPipeline]) -> float:
        """Renew all claims in Redis; the seconds until the next renewal.

        Call it from a thread of its own: a Redis that hangs must not delay the renewal of rows
        (test_a_redis_that_hangs_costs_no_run_its_lease).
        """
        pipelines = list(pipelines)
        self._renew_messages({p: runs for p in pipelines if (runs := self.running(p))})
        return _renewal_interval(pipelines)

    def _try_renew(self, using: str, pipeline: ModelPipeline, runs: list[Run]) -> bool:
        try:
            self._renew_rows(pipeline, runs, using)
            return True
        except Exception as error:
            _logger.warning(
                "renewal_failed channel=%s database=%s error=%s",
                pipeline.channel,
                using,
                error,
                exc_info=not isinstance(error, Error),
            )
            connections[using].close()
            return False

    def _renew_messages(self, held: Mapping[ModelPipeline, list[Run]]) -> None:
        try:
            for pipeline, runs in held.items():
                messages = [run.message for run in runs if run.message is not None]
                get_queue().heartbeat(self._worker, messages, lease=pipeline.message_lease)
        except QueueUnavailable as error:
            # Not retried: the leases of the rows decide.
            _logger.debug("heartbeat_failed error=%s", error)

    def _renew_rows(self, pipeline: ModelPipeline, runs: list[Run], using: str) -> None:
        clock.calibrate(using)
        rows = rows_of(pipeline.model, using).filter(pk__in=[run.pk for run in runs])
        ours = rows.filter(status=Status.RUNNING, worker=self._worker)
        # Rows that another transaction has locked are renewed next time
        # (test_a_locked_row_delays_no_other).
        until = clock.after(using, pipeline.lease)
        ours.update_managed_skip_locked(check_at=until)
        if has_limit(pipeline.model):
            # Also of a task that was canceled: its place is free when its function has ended.
            renew_places(pipeline.model, [run.pk for run in runs], self._worker, until, using)


def _renewal_interval(pipelines: Iterable[ModelPipeline]) -> float:
    return min([pipeline.renewal_interval for pipeline in pipelines], default=_IDLE_SECONDS)

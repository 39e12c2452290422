"""Renew the leases of the tasks that run in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from django.db import Error, connections

from ..db import clock
from ..exceptions import QueueUnavailable
from ..execution.run import Run
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..queue import get_queue
from ..states import Status
from .pipeline import ModelPipeline

_logger = get_logger(__name__)

_IDLE_SECONDS = 10.0
_STEP_SECONDS = 1.0  # between two looks whether a clock has jumped
_LOOK_SECONDS = 0.5  # between two looks for runs that were canceled
_YOUNG_SECONDS = 0.3
_RETRY_SECONDS = 1.0  # while a database cannot be reached; OutageGrace relies on it


class Leases:
    """The runs this process holds. Sets ``should_stop`` of a run that lost its lease."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._held: dict[Run, ModelPipeline] = {}
        self._lock = threading.Lock()
        self._renewed_at = self._next_renewal = self._next_look = float("-inf")

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
        elif moment >= self._next_look:
            self._next_look = moment + _LOOK_SECONDS
            self.stop_superseded()
        longest = _LOOK_SECONDS if self._held else _STEP_SECONDS
        return min(longest, max(0.0, self._next_renewal - clock.steady()))

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

    def stop_superseded(self) -> None:
        """Set ``should_stop`` of the runs that were canceled, reset or recovered meanwhile.

        Runs that have just begun are not looked for: most end before it matters.
        """
        begun_before = time.monotonic() - _YOUNG_SECONDS
        runs = [run for run in self.running() if 0.0 < run.started_monotonic < begun_before]
        databases = sorted({run.using for run in runs})
        in_each_database(partial(self._stop_superseded_in, runs=runs), databases)

    def _stop_superseded_in(self, using: str, runs: list[Run]) -> None:
        by_model: dict[type[SimpleTask], list[Run]] = {}
        for run in runs:
            if run.using == using and not run.task.should_stop:
                by_model.setdefault(type(run.task), []).append(run)
        try:
            for model, runs_of_model in by_model.items():
                self._compare(self._our_rows(model, runs_of_model, using), runs_of_model)
        except Error as error:
            # The next renewal finds them.
            _logger.debug("superseded_unknown database=%s error=%s", using, error)
            connections[using].close()

    def _our_rows(self, model: type[SimpleTask], runs: list[Run], using: str) -> Any:
        rows = rows_of(model, using).filter(pk__in=[run.pk for run in runs])
        return rows.filter(status=Status.RUNNING, worker=self._worker)

    def _compare(self, ours: Any, runs: list[Run]) -> None:
        attempts = dict(ours.values_list("pk", "attempt"))
        for run in runs:
            if attempts.get(run.pk) != run.attempt and run in self._held:
                run.task.stop_flag().set()

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
        ours = self._our_rows(pipeline.model, runs, using)
        # Rows that another transaction has locked are renewed next time
        # (test_a_locked_row_delays_no_other).
        if ours.update_managed_skip_locked(check_at=clock.after(using, pipeline.lease)) == len(
            runs
        ):
            return
        self._compare(ours, runs)


def _renewal_interval(pipelines: Iterable[ModelPipeline]) -> float:
    return min([pipeline.renewal_interval for pipeline in pipelines], default=_IDLE_SECONDS)

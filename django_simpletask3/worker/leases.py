"""Renewing the leases of everything that runs in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping

from django.db import Error, connections

from ..db import clock
from ..exceptions import QueueUnavailable
from ..execution.run import Run
from ..models.queryset import rows_of
from ..queue import get_queue
from ..states import Status
from .pipeline import ModelPipeline

_logger = logging.getLogger(__name__)

_IDLE_SECONDS = 10.0
_RETRY_SECONDS = 1.0  # while a database cannot be reached; recovery counts on it (Sight)


class Leases:
    """The runs this process holds. A run that is no longer ours is told to stop."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._held: dict[Run, ModelPipeline] = {}
        self._lock = threading.Lock()

    def add(self, runs: Iterable[Run], lane: ModelPipeline) -> None:
        """Renew the leases of ``runs`` from now on."""
        with self._lock:
            self._held.update(dict.fromkeys(runs, lane))

    def remove(self, runs: Iterable[Run]) -> None:
        """Renew them no more."""
        with self._lock:
            for run in runs:
                self._held.pop(run, None)

    def running(self, lane: ModelPipeline | None = None) -> list[Run]:
        """What is held now, in ``lane`` or in all."""
        with self._lock:
            return [run for run, where in self._held.items() if lane in (None, where)]

    def renew(self, lanes: Iterable[ModelPipeline]) -> float:
        """Renew everything in the databases; the seconds until the next time.

        What cannot be renewed is logged, and costs nothing else its lease.
        """
        lanes, failures = list(lanes), 0
        for lane in lanes:
            runs = self.running(lane)
            for using in sorted({run.using for run in runs}):
                some = [run for run in runs if run.using == using]
                failures += not self._try_renew(using, lane, some)
        return (
            min(_renewal_interval(lanes), _RETRY_SECONDS) if failures else _renewal_interval(lanes)
        )

    def report(self, lanes: Iterable[ModelPipeline]) -> float:
        """Renew everything in Redis; the seconds until the next time.

        In a thread of its own: a beat that waited for a Redis that hangs would be late, and a
        healthy run would lose its lease (test_a_redis_that_hangs_costs_no_run_its_lease).
        """
        lanes = list(lanes)
        self._renew_messages({lane: runs for lane in lanes if (runs := self.running(lane))})
        return _renewal_interval(lanes)

    def _try_renew(self, using: str, lane: ModelPipeline, runs: list[Run]) -> bool:
        try:
            self._renew_rows(lane, runs, using)
            return True
        except Exception as error:
            _logger.warning(
                "renewal_failed channel=%s database=%s error=%s",
                lane.channel,
                using,
                error,
                exc_info=not isinstance(error, Error),
            )
            connections[using].close()
            return False

    def _renew_messages(self, held: Mapping[ModelPipeline, list[Run]]) -> None:
        try:
            for lane, runs in held.items():
                messages = [run.message for run in runs if run.message is not None]
                get_queue().heartbeat(self._worker, messages, lease=lane.message_lease)
        except QueueUnavailable as error:
            # Asked once: the rows decide.
            _logger.warning("heartbeat_failed error=%s", error)

    def _renew_rows(self, lane: ModelPipeline, runs: list[Run], using: str) -> None:
        clock.calibrate(using)
        rows = rows_of(lane.model, using).filter(pk__in=[run.pk for run in runs])
        ours = rows.filter(status=Status.RUNNING, worker=self._worker)
        # What somebody holds is renewed at the next beat
        # (test_a_row_that_somebody_holds_delays_no_other).
        if ours.update_managed_skip_locked(check_at=clock.after(using, lane.lease)) == len(runs):
            return
        attempts = dict(ours.values_list("pk", "attempt"))
        for run in runs:
            if attempts.get(run.pk) != run.attempt and run in self._held:
                run.task.stop_flag().set()


def _renewal_interval(lanes: Iterable[ModelPipeline]) -> float:
    return min([lane.beat for lane in lanes], default=_IDLE_SECONDS)

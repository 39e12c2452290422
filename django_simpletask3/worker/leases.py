"""Renewing the leases of everything that runs in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from .. import clock
from ..exceptions import QueueUnavailable
from ..execution import Run
from ..querysets import rows_of
from ..queue import get_queue
from ..states import Status
from .lane import Lane

_logger = logging.getLogger(__name__)

_IDLE_BEAT = 10.0


class Leases:
    """The runs this process holds. A run that is no longer ours is told to stop."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._held: dict[Run, Lane] = {}
        self._lock = threading.Lock()

    def hold(self, runs: Iterable[Run], lane: Lane) -> None:
        """Renew the leases of ``runs`` from now on."""
        with self._lock:
            self._held.update(dict.fromkeys(runs, lane))

    def let_go(self, runs: Iterable[Run]) -> None:
        """Renew them no more."""
        with self._lock:
            for run in runs:
                self._held.pop(run, None)

    def running(self, lane: Lane | None = None) -> list[Run]:
        """What is held now, in ``lane`` or in all."""
        with self._lock:
            return [run for run, where in self._held.items() if lane in (None, where)]

    def beat(self, lanes: Iterable[Lane]) -> float:
        """Renew everything in the database and in Redis; the seconds until the next time."""
        lanes = list(lanes)
        for lane in lanes:
            if runs := self.running(lane):
                self._renew(lane, runs)
        return min([lane.message_lease / 3 for lane in lanes], default=_IDLE_BEAT)

    def _renew(self, lane: Lane, runs: list[Run]) -> None:
        try:
            self._renew_messages(lane, runs)
        except QueueUnavailable as error:
            _logger.warning("heartbeat_failed channel=%s error=%s", lane.channel, error)
        by_database: dict[str, list[Run]] = {}
        for run in runs:
            by_database.setdefault(run.task._state.db or "default", []).append(run)
        for using, group in by_database.items():
            self._renew_rows(lane, group, using)

    def _renew_messages(self, lane: Lane, runs: list[Run]) -> None:
        messages = [run.message for run in runs if run.message is not None]
        get_queue().heartbeat(self._worker, messages, lease=lane.message_lease)

    def _renew_rows(self, lane: Lane, runs: list[Run], using: str) -> None:
        clock.calibrate(using)
        pks = [run.task.pk for run in runs]
        rows = rows_of(lane.model, using).filter(pk__in=pks)
        ours = rows.filter(status=Status.RUNNING, worker=self._worker)
        if ours.bookkeep(lease_until=clock.after(using, lane.lease)) == len(runs):
            return
        attempts = dict(ours.values_list("pk", "attempt"))
        for run in runs:
            if attempts.get(run.task.pk) != run.attempt and run in self._held:
                run.task.stop_flag().set()

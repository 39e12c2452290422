"""The thread that records how the runs of one model ended."""

from __future__ import annotations

import logging
import threading
import time

from django.db import close_old_connections, connections

from ..backoff import exponential
from ..execution import Run, finish
from ..states import EventKind
from .counters import Counters
from .lane import Lane
from .leases import Leases

_logger = logging.getLogger(__name__)


class Finisher(threading.Thread):
    """Writes outcomes in batches: what arrives while one commit is on its way forms the next."""

    def __init__(self, lane: Lane, leases: Leases, counters: Counters) -> None:
        super().__init__(name=f"finisher-{lane.model._meta.label}", daemon=True)
        self._lane = lane
        self._leases = leases
        self._counters = counters

    def run(self) -> None:
        try:
            while batch := self._lane.batch():
                self._record(batch)
                if self._lane.outbox.empty():
                    close_old_connections()
        finally:
            connections.close_all()

    def _record(self, batch: list[Run]) -> None:
        """Record ``batch``, however often it takes: the leases are kept meanwhile."""
        failures = 0
        while not self._recorded(batch, failures):
            failures += 1
            connections.close_all()
            time.sleep(exponential(failures, base=0.1, cap=5.0))
        self._lane.active_at = time.monotonic()
        self._leases.let_go(batch)
        for run in batch:
            self._counters.count(run)
            _log(run)

    def _recorded(self, batch: list[Run], failures: int) -> bool:
        try:
            finish(batch)
        except Exception as error:
            _logger.warning(
                "finish_postponed tasks=%s tries=%s error=%s", len(batch), failures + 1, error
            )
            return False
        return True


def _log(run: Run) -> None:
    if run.move is None:
        return
    refused = run.move.event is None
    level = logging.INFO if run.move.kind is EventKind.ACK and not refused else logging.WARNING
    _logger.log(
        level,
        "task_%s model=%s pk=%s attempt=%s seconds=%.3f",
        "rejected" if refused else run.move.kind,
        run.task._meta.label,
        run.task.pk,
        run.attempt,
        run.seconds,
    )

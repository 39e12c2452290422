"""The thread that records how the runs of one model ended."""

from __future__ import annotations

import logging
import threading
import time

from django.db import Error, close_old_connections, connections

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
        while (unrecorded := self._unrecorded(batch, failures)) is None:
            failures += 1
            connections.close_all()
            time.sleep(exponential(failures, base=0.1, cap=5.0))
        self._lane.active_at = time.monotonic()
        # Of what cannot be recorded, too: recovery decides when its lease has ended.
        self._leases.let_go(batch)
        for run in batch:
            if run in unrecorded:
                _give_up(run)
            else:
                self._counters.count(run)
                _log(run)

    def _unrecorded(self, batch: list[Run], failures: int) -> list[Run] | None:
        """What cannot be recorded while the rest was; None if all is to be tried again."""
        try:
            return finish(batch)
        except BaseException as error:  # sys.exit() in a receiver does not end the thread
            _logger.warning(
                "finish_postponed tasks=%s tries=%s error=%s",
                len(batch),
                failures + 1,
                error,
                exc_info=not isinstance(error, Error),
            )
            return None


def _give_up(run: Run) -> None:
    error = run.move.failure if run.move else None
    label = run.task._meta.label
    _logger.error("finish_given_up model=%s pk=%s", label, run.pk, exc_info=error)


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
        run.pk,
        run.attempt,
        run.seconds,
    )

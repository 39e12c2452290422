"""What a process says of itself, again and again, for those who look after it."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .. import __version__
from ..conf.options import options
from ..queue import get_queue
from .leases import Leases
from .maintenance.pacing import SharedSchedule
from .node.counters import Counters
from .pipeline import ModelPipeline

_REPEAT_SECONDS = 30.0  # seconds between two reports that say the same


class WorkerReport:
    """One step renews the messages in Redis, and says how the process is doing, if that is news."""

    def __init__(
        self,
        worker: str,
        lanes: Sequence[ModelPipeline],
        leases: Leases,
        counters: Counters,
        timetable: SharedSchedule,
    ) -> None:
        self._worker = worker
        self._lanes = lanes
        self._leases = leases
        self._counters = counters
        self._timetable = timetable
        self._began = time.time()
        self._told: dict[str, Any] = {}
        self._told_at = float("-inf")

    def step(self) -> float:
        """Report; the seconds until the next time."""
        rest = self._leases.report(self._lanes)
        said, now = self.content(), time.monotonic()
        news = {name: said[name] for name in ("models", "counts")}
        # Who says nothing is forgotten: not by us.
        longest = min(_REPEAT_SECONDS, options.simq_worker_status_expire / 4)
        if news != self._told or now - self._told_at >= longest - rest / 2:
            get_queue().report(self._worker, said)
            self._told, self._told_at = news, now
        return rest

    def content(self) -> dict[str, Any]:
        """The report, in plain values; times are Unix times."""
        return {
            "node": platform.node(),
            "version": __version__,
            "began": round(self._began, 3),
            "time": round(time.time(), 3),
            "models": {
                lane.model._meta.label: {"threads": lane.threads, "held": lane.held}
                for lane in self._lanes
            },
            "counts": self._counters.read(),
            "jobs": {name: asdict(one) for name, one in self._timetable.read().items()},
        }

    def deregister(self) -> None:
        """Say that the process ends. Raises QueueUnavailable if Redis does not answer."""
        get_queue().deregister_worker(self._worker)

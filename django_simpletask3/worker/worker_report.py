"""Report the state of a process to Redis, for the dashboard and the status command."""

from __future__ import annotations

import os
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
    """Renews the claims in Redis, and reports models and counts when they change."""

    def __init__(
        self,
        worker: str,
        pipelines: Sequence[ModelPipeline],
        leases: Leases,
        counters: Counters,
        schedule: SharedSchedule,
    ) -> None:
        self._worker = worker
        self._pipelines = pipelines
        self._leases = leases
        self._counters = counters
        self._schedule = schedule
        self._began = time.time()
        self._reported: dict[str, Any] = {}
        self._reported_at = float("-inf")

    def step(self) -> float:
        """Renew and report; the seconds until the next step."""
        rest = self._leases.renew_claims(self._pipelines)
        report, now = self.content(), time.monotonic()
        current = {name: report[name] for name in ("models", "counts")}
        # Redis forgets a worker that does not report.
        longest = min(_REPEAT_SECONDS, options.simq_worker_status_expire / 4)
        if current != self._reported or now - self._reported_at >= longest - rest / 2:
            get_queue().report(self._worker, report)
            self._reported, self._reported_at = current, now
        return rest

    def content(self) -> dict[str, object]:
        """The report as JSON values; times are Unix times."""
        return {
            "node": platform.node(),
            "supervisor": os.getppid(),
            "version": __version__,
            "began": round(self._began, 3),
            "time": round(time.time(), 3),
            "models": {
                pipeline.model._meta.label: {"threads": pipeline.threads, "held": pipeline.held}
                for pipeline in self._pipelines
            },
            "counts": self._counters.read(),
            "jobs": {name: asdict(run) for name, run in self._schedule.read().items()},
        }

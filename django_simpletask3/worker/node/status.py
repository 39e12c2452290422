"""The state of a node, as its supervisor sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ...conf.options import options
from ..maintenance.pacing import JobRun

_STALE_SECONDS = 30.0  # seconds beyond the longest interval: no process runs the job any more


@dataclass(frozen=True, slots=True)
class Node:
    """Living and missing processes, counts of outcomes, and the last run of each job.

    ``began`` is when it started as Unix time, ``tick`` the same by ``time.monotonic()``.
    """

    began: float
    tick: float
    processes: tuple[str, ...]
    missing: int
    silent: int  # processes of which no thread has run for five seconds
    replaced: int
    counts: Mapping[str, int]
    jobs: Mapping[str, JobRun]

    @property
    def is_well(self) -> bool:
        """Whether every process is alive, one runs, and every maintenance job keeps being started.

        An outage of a database or of Redis does not make a node unwell, nor does a wall clock that
        is set.
        """
        oldest = min(max(abs(run.tick), self.tick) for run in self.jobs.values())
        slowest = options.simq_timeout_task_recovery_interval + _STALE_SECONDS
        is_frozen = 0 < len(self.processes) <= self.silent
        return not self.missing and not is_frozen and time.monotonic() - oldest < slowest

"""How a node is doing, as its supervisor sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ...conf.options import options
from ..maintenance.pacing import JobRun

_STALE_SECONDS = 30.0  # seconds beyond the slowest pace: a chore that nobody begins any more


@dataclass(frozen=True, slots=True)
class Node:
    """Its living processes and those that are missing, what it has done, and its chores."""

    began: float
    processes: tuple[str, ...]
    missing: int
    replaced: int
    counts: Mapping[str, int]
    jobs: Mapping[str, JobRun]

    @property
    def is_well(self) -> bool:
        """Whether every process is there, and every chore is begun again and again.

        That a database or Redis is away is no illness of the node.
        """
        oldest = min(max(one.began, self.began) for one in self.jobs.values())
        slowest = options.simq_timeout_task_recovery_interval + _STALE_SECONDS
        return not self.missing and time.time() - oldest < slowest

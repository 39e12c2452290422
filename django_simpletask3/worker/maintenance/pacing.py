"""When each maintenance job last ran on a node, in memory that its processes share."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

_FORMAT = "=3d2Qd"
_SIZE = struct.calcsize(_FORMAT)
_MAX_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class JobRun:
    """The last run of one job; times are 0.0 if there was none.

    ``began`` is when it began and ``ended`` when the last successful one ended, as Unix times.
    ``count`` is what that one returned, ``failures`` how many have failed since. ``tick`` is when
    the run began by ``time.monotonic()``; it is negative if the job was triggered since.
    ``idle_for`` is for how many seconds the last successful run needs no other, if that is longer
    than the job's interval.
    """

    tick: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    count: int = 0
    failures: int = 0
    idle_for: float = 0.0


class SharedSchedule:
    """The process that finds a job due runs it: about one run per interval and node.

    If a process dies or freezes during a run, another one runs the job an interval later. Two may
    start the same job at once: jobs allow that. A job that fails is retried after a pause that
    doubles each time.
    """

    def __init__(self, jobs: Sequence[str]) -> None:
        self._offsets = {name: number * _SIZE for number, name in enumerate(jobs)}
        self._memory = mmap.mmap(-1, max(1, _SIZE * len(jobs)))

    def seconds_until(self, job: str, interval: float) -> float:
        """Seconds until ``job`` is due; zero or less if it is."""
        last = self._read(job)
        interval = max(interval, last.idle_for)
        pause = min(interval * 2.0 ** min(last.failures, 10), max(interval, _MAX_PAUSE))
        return last.tick + pause - time.monotonic() if last.tick > 0 else 0.0

    def begin(self, job: str) -> None:
        """Record that a run begins now."""
        last = self._read(job)
        run = replace(last, tick=time.monotonic(), began=time.time(), idle_for=0.0)
        self._write(job, run)

    def end(self, job: str, count: int, idle_for: float = 0.0) -> None:
        """Record that a run has succeeded, and needs no other for ``idle_for`` seconds."""
        last = self._read(job)
        run = replace(last, ended=time.time(), count=count, failures=0, idle_for=idle_for)
        self._write(job, run)

    def trigger(self, job: str) -> None:
        """Make ``job`` due now. One that has just failed stays due after its pause."""
        last = self._read(job)
        if not last.failures or time.monotonic() - abs(last.tick) >= _MAX_PAUSE:
            self._write(job, replace(last, tick=-abs(last.tick)))

    def fail(self, job: str) -> None:
        """Record that a run has failed."""
        last = self._read(job)
        self._write(job, replace(last, failures=last.failures + 1))

    def read(self) -> dict[str, JobRun]:
        """The last run of every job, by name."""
        return {job: self._read(job) for job in self._offsets}

    def _read(self, job: str) -> JobRun:
        return JobRun(*struct.unpack_from(_FORMAT, self._memory, self._offsets[job]))

    def _write(self, job: str, run: JobRun) -> None:
        struct.pack_into(_FORMAT, self._memory, self._offsets[job], *astuple(run))

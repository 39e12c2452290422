"""When each maintenance job last ran on a node, in memory that its processes share."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from weakref import WeakMethod

_FORMAT = "=3d2Qd"
_SIZE = struct.calcsize(_FORMAT)
_MAX_PAUSE = 5.0
#: A triggered job begins so many seconds after its last run at the earliest: some are triggered by
#: each other, or by each batch of tasks.
_TRIGGERED_PAUSE = 0.25
#: Longest pause between two looks of a process: another one may have triggered a job. The only one
#: of a node looks less often: what it has triggered itself it runs at once.
_MAX_LOOK_PAUSE, _ONLY_PROCESS_MAX_LOOK_PAUSE = 0.25, 1.0


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

    def __init__(self, jobs: Sequence[str], processes: int = 1) -> None:
        #: The longest pause between two looks of a process at the schedule.
        self.max_pause = _MAX_LOOK_PAUSE if processes > 1 else _ONLY_PROCESS_MAX_LOOK_PAUSE
        self._offsets = {name: number * _SIZE for number, name in enumerate(jobs)}
        self._memory = mmap.mmap(-1, max(1, _SIZE * len(jobs)))
        self._on_trigger: list[WeakMethod[Callable[[], object]]] = []

    def call_when_triggered(self, method: Callable[[], object]) -> None:
        """Call ``method`` whenever this process triggers a job, in the thread that does.

        That ends with the object whose method it is.
        """
        self._on_trigger = [known for known in self._on_trigger if known() is not None]
        self._on_trigger.append(WeakMethod(method))

    def seconds_until(self, job: str, interval: float) -> float:
        """Seconds until ``job`` is due; zero or less if it is."""
        # Idle nodes do little else: no JobRun is made.
        tick, _, _, _, failures, idle_for = struct.unpack_from(
            _FORMAT, self._memory, self._offsets[job]
        )
        if tick <= 0:
            rest = _TRIGGERED_PAUSE - tick - time.monotonic() if tick else 0.0
            return max(0.0, rest)
        pause = interval = max(interval, idle_for)
        if failures:
            pause = min(interval * 2.0 ** min(failures, 10), max(interval, _MAX_PAUSE))
        return float(tick + pause - time.monotonic())

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
        """Make ``job`` due a quarter of a second after its last run began, at the earliest now.

        One that has just failed stays due after its pause.
        """
        last = self._read(job)
        if not last.failures or time.monotonic() - abs(last.tick) >= _MAX_PAUSE:
            self._write(job, replace(last, tick=-abs(last.tick)))
            for known in self._on_trigger:
                if (method := known()) is not None:
                    method()

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

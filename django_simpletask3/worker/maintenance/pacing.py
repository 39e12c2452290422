"""When the processes of a node did each chore last, in memory that they share."""

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
    """The last pass of one chore: when it began and the last good one ended, as Unix times.

    0.0 means never. ``moved`` is the last good one's count, ``failures`` those in a row since.
    ``tick`` is when it began by the machine's clock that is never set, and ``calm`` the seconds
    that the last good one thought it may rest, if that is longer than its pace.
    """

    tick: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    moved: int = 0
    failures: int = 0
    idle_for: float = 0.0


class SharedSchedule:
    """Whoever finds a chore due does it: one pass per pace and node, whoever lives.

    A process that is frozen or dead is stepped over at the next pace, even in the middle of a pass.
    Two may begin at the same instant: chores may be done by any number at once. A chore that fails
    rests longer each time.
    """

    def __init__(self, chores: Sequence[str]) -> None:
        self._places = {name: number * _SIZE for number, name in enumerate(chores)}
        self._memory = mmap.mmap(-1, max(1, _SIZE * len(chores)))

    def seconds_until(self, chore: str, pace: float) -> float:
        """Seconds until ``chore`` is due again."""
        last = self._read(chore)
        pace = max(pace, last.idle_for)
        pause = min(pace * 2.0 ** min(last.failures, 10), max(pace, _MAX_PAUSE))
        return last.tick + pause - time.monotonic() if last.tick else 0.0

    def begin(self, chore: str) -> None:
        """Note that a pass begins now; how calm it is, only its end can tell."""
        last = self._read(chore)
        begun = replace(last, tick=time.monotonic(), began=time.time(), idle_for=0.0)
        self._write(chore, begun)

    def end(self, chore: str, moved: int, calm: float = 0.0) -> None:
        """Note that a pass has ended well, and may be the last for ``calm`` seconds."""
        last = self._read(chore)
        told = replace(last, ended=time.time(), moved=moved, failures=0, idle_for=calm)
        self._write(chore, told)

    def trigger(self, chore: str) -> None:
        """Make ``chore`` due now; one that has just failed, when it has rested."""
        last = self._read(chore)
        if not last.failures or time.monotonic() - last.tick >= _MAX_PAUSE:
            self._write(chore, replace(last, tick=0.0))

    def fail(self, chore: str) -> None:
        """Note that a pass has failed."""
        last = self._read(chore)
        self._write(chore, replace(last, failures=last.failures + 1))

    def read(self) -> dict[str, JobRun]:
        """The last pass of every chore, by name."""
        return {chore: self._read(chore) for chore in self._places}

    def _read(self, chore: str) -> JobRun:
        return JobRun(*struct.unpack_from(_FORMAT, self._memory, self._places[chore]))

    def _write(self, chore: str, one: JobRun) -> None:
        struct.pack_into(_FORMAT, self._memory, self._places[chore], *astuple(one))

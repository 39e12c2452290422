"""The last due check of a node, in memory that its processes share."""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import astuple, dataclass

_FORMAT = "=d???I"
#: Seconds after which a snapshot is ignored: the process that made it may be dead or frozen.
_MAX_AGE = 5.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one due check found; unknown counts as True.

    ``at`` is when it began, by ``time.monotonic()`` (0.0: never). ``schedules`` is another number
    whenever a schedule was changed; 0 if that is unknown.
    """

    at: float = 0.0
    has_running: bool = True
    has_waiting: bool = True
    has_commands: bool = True
    schedules: int = 0


class SharedSnapshot:
    """One process queries the databases, the others read its result here.

    Make it before the node forks its processes.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(_FORMAT))
        self.publish(Snapshot())

    def publish(self, snapshot: Snapshot) -> None:
        """Replace the snapshot."""
        struct.pack_into(_FORMAT, self._memory, 0, *astuple(snapshot))

    def latest(self) -> Snapshot:
        """The last snapshot of any process; all True if it is older than five seconds."""
        snapshot = Snapshot(*struct.unpack_from(_FORMAT, self._memory))
        return snapshot if time.monotonic() - snapshot.at < _MAX_AGE else Snapshot()

"""What a node saw when it last looked at its databases, in memory that its processes share."""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import astuple, dataclass

_FORMAT = "=d???"
_MAX_AGE = (
    5.0  # seconds after which a look proves nothing: whoever looked may be gone, or stand still
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look: when it began, by the machine's clock that is never set (0.0: never).

    ``runs`` and ``waits`` say whether a task may, and ``asked`` whether operators may ask something
    of workers; what could not be seen may be so.
    """

    at: float = 0.0
    has_running: bool = True
    has_waiting: bool = True
    has_commands: bool = True


class SharedSnapshot:
    """One process looks for all: the others need not ask the database what it has just been asked.

    To be made before the processes are.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(_FORMAT))
        self.publish(Snapshot())

    def publish(self, seen: Snapshot) -> None:
        """This is how it looks."""
        struct.pack_into(_FORMAT, self._memory, 0, *astuple(seen))

    def latest(self) -> Snapshot:
        """The last look of any process; one that has seen nothing if it is old."""
        seen = Snapshot(*struct.unpack_from(_FORMAT, self._memory))
        return seen if time.monotonic() - seen.at < _MAX_AGE else Snapshot()

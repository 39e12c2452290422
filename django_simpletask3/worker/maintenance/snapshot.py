"""The last due check of a node, in memory that its processes share."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from ...ledger.task_row import table_model
from ...models.registry import table_models
from ...models.task import SimpleTask

_FORMAT = "=d???QI"
#: Seconds after which a snapshot is ignored: the process that made it may be dead or frozen.
_MAX_AGE = 5.0
#: Without a snapshot, seconds after which a task may have become due.
_UNKNOWN_SECONDS = 1.0
#: Tables share a bit if there are more.
_BITS = 64
ALL_TABLES = 2**_BITS - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one due check found; unknown counts as True.

    ``at`` is when it began, by ``time.monotonic()`` (0.0: never). ``due_tables`` has the bits of
    the tables with a waiting task that is due. ``schedules`` is another number whenever a schedule
    was changed; 0 if that is unknown.
    """

    at: float = 0.0
    has_running: bool = True
    has_waiting: bool = True
    has_commands: bool = True
    due_tables: int = ALL_TABLES
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

    def may_be_due(self, tables: int, since: float) -> bool:
        """Whether a task may be due that a look at these tables at ``since`` did not find."""
        snapshot = self.latest()
        if not snapshot.at:
            return time.monotonic() - since >= _UNKNOWN_SECONDS
        return bool(snapshot.due_tables & tables) and snapshot.at > since


def table_bits(models: Iterable[type[SimpleTask]]) -> int:
    """The bits of the tables of ``models`` in ``Snapshot.due_tables``."""
    numbers = {root: number for number, root in enumerate(table_models())}
    bits = 0
    for model in models:
        bits |= 1 << numbers[table_model(model)] % _BITS
    return bits

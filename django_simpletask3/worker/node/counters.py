"""Counts of outcomes, in memory that a supervisor shares with its children."""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Iterable

from ...execution.run import Run
from ...states import EVENTS, EventKind

_FORMAT = "=6Q"
SIZE = struct.calcsize(_FORMAT)
_NAMES = ("succeeded", "failed", "retried", "snoozed", "canceled", "rejected")
_REJECTED = _NAMES.index("rejected")
_COLUMN = {kind: _NAMES.index(spec.counter) for kind, spec in EVENTS.items() if spec.counter}


class Counters:
    """How many runs of one process ended in each way that a task function can end."""

    def __init__(self, memory: mmap.mmap | None = None, slot: int = 0) -> None:
        self._memory = memory if memory is not None else mmap.mmap(-1, SIZE)
        self._offset = slot * SIZE
        self._lock = threading.Lock()

    def count(self, runs: Iterable[Run]) -> None:
        """Count the outcomes of ``runs``."""
        columns = [column for run in runs if (column := _column_of(run)) is not None]
        with self._lock:
            values = list(struct.unpack_from(_FORMAT, self._memory, self._offset))
            for column in columns:
                values[column] += 1
            struct.pack_into(_FORMAT, self._memory, self._offset, *values)

    def read(self) -> dict[str, int]:
        """The counts so far, by name."""
        values = struct.unpack_from(_FORMAT, self._memory, self._offset)
        return dict(zip(_NAMES, values, strict=True))


def _column_of(run: Run) -> int | None:
    """The counter of the outcome of ``run``; None if its function was stopped, and has none."""
    transition = run.last_transition
    if transition is None or transition.kind is EventKind.RELEASE:
        return None
    return _REJECTED if transition.event is None else _COLUMN.get(transition.kind, _REJECTED)

"""What a process does of what operators ask: it leaves queues alone, and it stops."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from .. import instructions

_logger = logging.getLogger(__name__)

_LOOK = 5.0


class Obedience:
    """Knows which models are paused; one step looks what is asked now."""

    def __init__(self, worker: str, stop: Callable[[], None]) -> None:
        self._worker = worker
        self._stop = stop
        self._paused: frozenset[str] = frozenset()

    def is_paused(self, label: str) -> bool:
        """Whether tasks of the model with this label are to be left alone."""
        return label in self._paused

    def step(self) -> float:
        """Look once; the seconds until the next look."""
        said = instructions.standing()
        paused = frozenset(one.target for one in said if one.what == instructions.PAUSE)
        for label in sorted(paused ^ self._paused):
            word = "queue_paused" if label in paused else "queue_resumed"
            _logger.info("%s model=%s worker=%s", word, label, self._worker)
        self._paused = paused
        if any(one.what == instructions.STOP and one.target == self._worker for one in said):
            _logger.info("stop_asked worker=%s", self._worker)
            instructions.obeyed(self._worker)
            self._stop()
        return _LOOK


def stop_node(parent: int) -> None:
    """Ask ``parent``, the supervisor of this process, to stop the node in its own time."""
    if os.getppid() == parent:
        os.kill(parent, signal.SIGTERM)

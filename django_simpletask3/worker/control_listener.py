"""What a process does of what operators ask: it leaves queues alone, and it stops."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable

from .. import control
from ..control import OperatorCommand
from .maintenance.snapshot import SharedSnapshot, Snapshot

_logger = logging.getLogger(__name__)

_CHECK_SECONDS = 4.5  # seconds between two looks of our own
_STEP_SECONDS = 0.25


class ControlListener:
    """Knows which models are paused; one step finds out whether something is asked.

    Mostly nothing is: then the node's last look at the databases has said so, and nobody asks them
    again. What is asked, and whether it is while nobody looks, each process sees for itself.
    """

    def __init__(self, worker: str, outlook: SharedSnapshot, stop: Callable[[], None]) -> None:
        self._worker = worker
        self._outlook = outlook
        self._stop = stop
        self._paused: frozenset[str] = frozenset()
        self._looked_at, self._has_found = float("-inf"), False

    def is_paused(self, label: str) -> bool:
        """Whether tasks of the model with this label are to be left alone."""
        return label in self._paused

    def step(self) -> float:
        """Obey what is asked; the seconds until the next step."""
        seen = self._outlook.latest()
        # A look that is older than our own knows less.
        if not seen.has_commands and seen.at > self._looked_at:
            self._has_found = False
            self._follow([])
        elif time.monotonic() - self._looked_at >= _CHECK_SECONDS or self._has_changed(seen):
            self.check()
        return _STEP_SECONDS

    def _has_changed(self, seen: Snapshot) -> bool:
        """Whether something is asked, of which our own look, an earlier one, has found nothing."""
        return seen.has_commands and seen.at > self._looked_at and not self._has_found

    def check(self) -> None:
        """Ask the database, and obey."""
        said = control.current_commands()
        # Only a look that begins after this answer knows more.
        self._looked_at, self._has_found = time.monotonic(), bool(said)
        self._follow(said)

    def _follow(self, said: Iterable[OperatorCommand]) -> None:
        paused = frozenset(one.target for one in said if one.action == control.PAUSE)
        for label in sorted(paused - self._paused):
            _logger.info("queue_paused model=%s worker=%s", label, self._worker)
        for label in sorted(self._paused - paused):
            _logger.info("queue_resumed model=%s worker=%s", label, self._worker)
        self._paused = paused
        if any(one.action == control.STOP and one.target == self._worker for one in said):
            _logger.info("stop_requested worker=%s", self._worker)
            control.acknowledge_stop(self._worker)
            self._stop()


def stop_node(parent: int) -> None:
    """Ask ``parent``, the supervisor of this process, to stop the node in its own time."""
    if os.getppid() == parent:
        os.kill(parent, signal.SIGTERM)

"""Follow the commands of operators: pause queues, stop the node."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

from .. import control
from ..control import OperatorCommand
from ..logs import get_logger
from .maintenance.snapshot import SharedSnapshot, Snapshot

_logger = get_logger(__name__)

_CHECK_SECONDS = 4.5  # seconds between two queries of this process
_STEP_SECONDS = 0.5  # with the pause of an idle LeaseMonitor, less than five seconds


class ControlListener:
    """Knows which models are paused, and stops the node when an operator asks for it.

    The node's snapshot tells whether there are any commands. Each process queries them itself
    when there are some, or when the snapshot is too old.
    """

    def __init__(self, worker: str, snapshot: SharedSnapshot, stop: Callable[[], None]) -> None:
        self._worker = worker
        self._snapshot = snapshot
        self._stop = stop
        self._paused: frozenset[str] = frozenset()
        self._checked_at, self._has_found = float("-inf"), False

    def is_paused(self, label: str) -> bool:
        """Whether the queue of the model with this label is paused."""
        return label in self._paused

    def step(self) -> float:
        """Follow the current commands; the seconds until the next step."""
        snapshot = self._snapshot.latest()
        # A snapshot older than the last query of this process is ignored.
        if not snapshot.has_commands and snapshot.at > self._checked_at:
            self._has_found = False
            self._follow([])
        elif time.monotonic() - self._checked_at >= _CHECK_SECONDS or self._has_changed(snapshot):
            self.check()
        return _STEP_SECONDS

    def _has_changed(self, snapshot: Snapshot) -> bool:
        """Whether a newer snapshot has commands, and the last query here found none."""
        return snapshot.has_commands and snapshot.at > self._checked_at and not self._has_found

    def check(self) -> None:
        """Query the commands and follow them."""
        commands = control.current_commands()
        # Only a snapshot that begins after this query is newer.
        self._checked_at, self._has_found = time.monotonic(), bool(commands)
        self._follow(commands)

    def _follow(self, commands: Iterable[OperatorCommand]) -> None:
        paused = frozenset(c.target for c in commands if c.action == control.PAUSE)
        for label in sorted(paused - self._paused):
            _logger.info("queue_paused model=%s worker=%s", label, self._worker)
        for label in sorted(self._paused - paused):
            _logger.info("queue_resumed model=%s worker=%s", label, self._worker)
        self._paused = paused
        if any(c.action == control.STOP and c.target == self._worker for c in commands):
            _logger.info("stop_requested worker=%s", self._worker)
            control.acknowledge_stop(self._worker)
            self._stop()


def stop_node(parent: int) -> None:
    """Send SIGTERM to ``parent``, the supervisor, if it still is the parent of this process."""
    if os.getppid() == parent:
        os.kill(parent, signal.SIGTERM)

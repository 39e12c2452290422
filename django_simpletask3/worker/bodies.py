"""The thread that runs the bodies of one model."""

from __future__ import annotations

import contextvars
import logging
import threading

from django.db import close_old_connections, connections, reset_queries

from ..execution import Run, perform
from .lane import Lane

_logger = logging.getLogger(__name__)


class BodyThread(threading.Thread):
    """Performs runs from the lane's inbox until it is given None."""

    def __init__(self, lane: Lane, index: int) -> None:
        super().__init__(name=f"body-{lane.model._meta.label}-{index}", daemon=True)
        self._lane = lane

    def run(self) -> None:
        try:
            while (run := self._lane.inbox.get()) is not None:
                try:
                    _perform(run)
                finally:
                    # Also if this thread dies of it: nobody waits for the run.
                    self._lane.performed(run)
        finally:
            connections.close_all()


def _perform(run: Run) -> None:
    reset_queries()
    close_old_connections()
    # A context of its own: what a body sets there does not reach the next one.
    contextvars.copy_context().run(perform, run)
    _tidy_connections()


def _tidy_connections() -> None:
    """Close what the body left unusable: stale connections, transactions it did not end."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or (
            connection.connection is not None and not connection.get_autocommit()
        ):
            _logger.warning("transaction_left_open database=%s", connection.alias)
            connection.close()
            # With it go its memories of savepoints and of what was to follow a commit.
            del connections[connection.alias]
    close_old_connections()

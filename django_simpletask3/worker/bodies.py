"""The thread that runs the bodies of one model."""

from __future__ import annotations

import contextvars
import threading

from django.db import close_old_connections, connections, reset_queries

from ..execution import Run, perform
from . import sessions
from .lane import Lane


class BodyThread(threading.Thread):
    """Performs runs from the lane's inbox until it is given None."""

    def __init__(self, lane: Lane, index: int) -> None:
        super().__init__(name=f"body-{lane.model._meta.label}-{index}", daemon=True)
        self._lane = lane

    def run(self) -> None:
        is_busy = False
        try:
            while (run := self._lane.inbox.get()) is not None:
                if not is_busy:
                    close_old_connections()
                try:
                    _perform(run)
                finally:
                    # Also if this thread dies of it: nobody waits for the run.
                    self._lane.performed(run)
                is_busy = not self._lane.inbox.empty()
                if not is_busy:
                    sessions.tidy()
        finally:
            connections.close_all()


def _perform(run: Run) -> None:
    reset_queries()
    # A context of its own: what a body sets there does not reach the next one.
    contextvars.copy_context().run(perform, run)
    # The next body finds no transaction open, but the session, if it follows at once.
    sessions.mend()

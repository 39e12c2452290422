"""The thread that runs the bodies of one model."""

from __future__ import annotations

import contextvars
import threading
from queue import Empty

from django.db import close_old_connections, connections, reset_queries

from ..execution.perform import perform
from ..execution.run import Run
from . import connections as worker_connections
from .pipeline import ModelPipeline


class TaskThread(threading.Thread):
    """Performs runs from the lane's inbox until it is given None."""

    def __init__(self, lane: ModelPipeline, index: int) -> None:
        super().__init__(name=f"body-{lane.model._meta.label}-{index}", daemon=True)
        self._lane = lane

    def run(self) -> None:
        try:
            while (run := self._next()) is not None:
                try:
                    _perform(run)
                finally:
                    # Also if this thread dies of it: nobody waits for the run.
                    self._lane.mark_performed(run)
        finally:
            connections.close_all()

    def _next(self) -> Run | None:
        """The next run, with the session of the last if it follows at once; None means: the end."""
        try:
            return self._lane.inbox.get_nowait()
        except Empty:
            worker_connections.close_stale()
        run = self._lane.inbox.get()
        close_old_connections()
        return run


def _perform(run: Run) -> None:
    reset_queries()
    # A context of its own: what a body sets there does not reach the next one.
    contextvars.copy_context().run(perform, run)
    # The next body finds no transaction open, but the session, if it follows at once.
    worker_connections.close_broken()

"""A thread that runs the task functions of one model."""

from __future__ import annotations

import contextvars
import threading
from queue import Empty

from django.db import connections

from ..execution.perform import perform
from ..execution.run import Run
from . import connections as worker_connections
from .pipeline import ModelPipeline
from .watch.activity import Activity, Recorder


class TaskThread(threading.Thread):
    """Performs runs from the pipeline's inbox until it takes None out of it."""

    def __init__(
        self, pipeline: ModelPipeline, index: int, recorder: Recorder | None = None
    ) -> None:
        super().__init__(name=f"task-{pipeline.model._meta.label}-{index}", daemon=True)
        self._pipeline = pipeline
        self._recorder = recorder or Activity(0).recorder(0)

    def run(self) -> None:
        try:
            while (run := self._next()) is not None:
                self._recorder.begin([run])
                try:
                    _perform(run)
                finally:
                    self._recorder.end()
                    # Also if this thread dies: the pipeline must not wait for the run.
                    self._pipeline.mark_performed(run)
        finally:
            connections.close_all()

    def _next(self) -> Run | None:
        """The next run, on the open session if one waits already; None if the thread must end."""
        try:
            return self._pipeline.inbox.get_nowait()
        except Empty:
            worker_connections.close_stale()
        run = self._pipeline.inbox.get()
        worker_connections.close_stale()
        return run


def _perform(run: Run) -> None:
    # A new context: values that a task function sets do not reach the next one.
    contextvars.copy_context().run(perform, run)
    # The next task function finds no open transaction, but the same session.
    worker_connections.close_broken()

"""Serve the dependents of tasks that have ended, where no process did it after its commit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from ..dependencies.cleanup import delete_unused
from ..dependencies.serving import serve
from ..dependencies.tables import has_prerequisite_models
from ..models.each_database import in_each_database
from ..models.registry import task_databases


class DependentsJob:
    """The maintenance job that releases and cancels dependents; it goes on while there are some."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_more = False

    def run(self) -> int:
        """Serve dependents for some seconds; how many prerequisites and dependents were served.

        No query is made in a project whose tasks cannot wait for others.
        """
        if not has_prerequisite_models():
            return 0
        latest = time.monotonic() + self._seconds
        counts = in_each_database(partial(serve, seconds=self._seconds), task_databases())
        self._has_more = time.monotonic() >= latest
        return sum(counts.values())

    def needed_in(self) -> float:
        """Seconds after which the next run is needed; infinity if its interval is early enough."""
        return 0.0 if self._has_more else math.inf


def delete_unused_groups(may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete what is left of dependents that were deleted, in all databases; how many dependents.

    Goes on until ``may_go_on`` is false.
    """
    if not has_prerequisite_models():
        return 0
    work = partial(delete_unused, may_go_on=may_go_on)
    return sum(in_each_database(work, task_databases()).values())


def serve_all(seconds: float = math.inf) -> int:
    """Serve the dependents in all databases; how many prerequisites and dependents were served."""
    return DependentsJob(seconds).run()

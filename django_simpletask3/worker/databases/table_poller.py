"""Look for due tasks in the table of one model: without Redis, while it is away, and in a burst."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..pipeline import ModelPipeline
from .starts import Starts

#: Seconds after which rows are tried again that could not be started.
_AGAIN_SECONDS = 30.0


class TablePoller:
    """Starts the due tasks of a table, and knows when to look again.

    ``may_be_due`` tells whether a task may be due that a look at that time, by
    ``time.monotonic()``, did not find. Unless it ``tries_again``, a row that could not be started
    is tried once.
    """

    def __init__(
        self,
        pipeline: ModelPipeline,
        starts: Starts,
        may_be_due: Callable[[float], bool],
        *,
        tries_again: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._starts = starts
        self._may_be_due = may_be_due
        self._tries_again = tries_again
        self._tried_since = time.monotonic()
        self._looked_at, self._looks_again = 0.0, True

    def look_soon(self) -> None:
        """Let the next ``poll`` look at the table: a task of it is due."""
        self._looks_again = True

    def poll(self, room: int, *, only_overdue: bool) -> bool:
        """As ``look``, unless no task can have become due since the last look."""
        if not (self._looks_again or self._may_be_due(self._looked_at)):
            return False
        return self.look(room, only_overdue=only_overdue)

    def look(self, room: int, *, only_overdue: bool) -> bool:
        """Start up to ``room`` due tasks; whether there were any.

        If there were none, marks the pipeline as empty, as far as that is known.
        """
        starts, self._looked_at = self._starts, time.monotonic()
        if self._tries_again and self._looked_at - self._tried_since >= _AGAIN_SECONDS:
            starts.forget_tried()
            self._tried_since = self._looked_at
        with self._pipeline.looking() as found:
            has_found = starts.start_from_table(room, only_overdue=only_overdue)
            found.append(has_found)
        self._looks_again = has_found or starts.has_postponed_rows
        if not (self._looks_again or starts.is_any_sick) and starts.is_idle:
            self._pipeline.empty_at = self._looked_at
        return has_found

"""Find out which runs of a process have lost their tasks: canceled, reset, deleted or recovered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

from django.db import Error, connections

from ...db.limited_queries import BoundQuery, Placeholder, first_rows
from ...execution.run import Run
from ...ledger.stop_signal import ENDED_BY_OTHERS, reason_to_stop, request_stop
from ...ledger.task_row import table_model
from ...logs import get_logger
from ...models.each_database import in_each_database
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...states import Status

_logger = get_logger(__name__)

#: Below a second: by then a task function can see that its task was canceled.
_LOOK_SECONDS = 0.9
#: Younger runs are left to the next look, which is in time for them: most end before.
_YOUNG_SECONDS = 0.05


class SupersededRuns:
    """Looks for the runs of a process that have lost their tasks, and requests that they stop.

    One statement for each database, and none unless a run was claimed 0.9 seconds ago. Then the
    next look follows 0.9 seconds later.
    """

    def __init__(self, worker: str, running: Callable[[], list[Run]]) -> None:
        self._worker = worker
        self._running = running
        self._looked_at = float("-inf")

    def step(self) -> float:
        """Look if it is time; the seconds until the next step."""
        now = time.monotonic()
        runs = [run for run in self._running() if run.transition is None]
        oldest = min((run.claimed_monotonic for run in runs), default=now)
        due = max(oldest, self._looked_at) + _LOOK_SECONDS
        if now < due:
            return due - now
        self._looked_at = now
        self.look_at([run for run in runs if run.claimed_monotonic < now - _YOUNG_SECONDS])
        return _LOOK_SECONDS

    def look_at(self, runs: Iterable[Run]) -> None:
        """Request a stop of those of ``runs`` that have lost their tasks.

        One statement for each database.
        """
        runs = [run for run in runs if run.task._stop_reason not in ENDED_BY_OTHERS]
        databases = sorted({run.using for run in runs})
        in_each_database(partial(self._look_in, runs=runs), databases)

    def _look_in(self, using: str, runs: Iterable[Run]) -> None:
        # By the run, not by the key: of a row that cannot be found again by the text of its key,
        # or whose key another type writes in another way, nothing would be known.
        rows_by_table = cache(partial(_claim_query, using=using))
        queries = {
            run: BoundQuery(rows_by_table(table_model(type(run.task))), {"pk": run.pk})
            for run in runs
            if run.using == using
        }
        try:
            claims = first_rows(using, queries, 1)
        except Error as error:
            # The next look finds them.
            _logger.debug("superseded_unknown database=%s error=%s", using, error)
            connections[using].close()
        else:
            for run, rows in claims.items():
                self._judge(run, *rows)

    def _judge(self, run: Run, claim: tuple[Any, ...] = (None, None, None)) -> None:
        """Request a stop of ``run`` unless ``claim``, which is that of its row, is its own."""
        status, attempt, _ = claim
        is_over = run.transition is not None
        if not is_over and claim != (Status.RUNNING, run.attempt, self._worker):
            request_stop(run.task, reason_to_stop(status if attempt == run.attempt else None))


def _claim_query(root: type[SimpleTask], using: str) -> Any:
    rows = rows_of(root, using).filter(pk=Placeholder("pk", root._meta.pk))
    return rows.values_list("status", "attempt", "worker")

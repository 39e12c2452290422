"""Find out which runs of a process have lost their tasks: canceled, reset, deleted or recovered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

from django.db import Error, connections

from ...db.limited_queries import BoundQuery, Placeholder, first_rows
from ...exceptions import StopReason
from ...execution.run import Run
from ...ledger.event import events_of
from ...ledger.stop_signal import reason_to_stop, request_stop
from ...ledger.task_row import table_model
from ...logs import get_logger
from ...models.each_database import in_each_database
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...states import EventKind, Status
from ...transitions.forced_cancel import FORCED

_logger = get_logger(__name__)

#: Below a second: by then a task function can see that its task was canceled.
_LOOK_SECONDS = 0.9
#: Younger runs are left to the next look, which is in time for them: most end before.
_YOUNG_SECONDS = 0.05
#: How many events of a canceled task are looked at, the newest first.
_MAX_EVENTS = 20


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

        Of one that was canceled, and whose function goes on, it is looked whether it was canceled
        by force. One statement for each database.
        """
        runs = [run for run in runs if _is_open(run)]
        databases = sorted({run.using for run in runs})
        in_each_database(partial(self._look_in, runs=runs), databases)

    def _look_in(self, using: str, runs: Iterable[Run]) -> None:
        try:
            found = first_rows(using, _queries(using, runs), _MAX_EVENTS)
        except Error as error:
            # The next look finds them.
            _logger.debug("superseded_unknown database=%s error=%s", using, error)
            connections[using].close()
            return
        for run, rows in found.items():
            if run.task._stop_reason is not StopReason.CANCELED:
                self._compare(run, *rows)
            elif any((data or {}).get(FORCED) is True for _, _, data in rows):
                run.end_function()

    def _compare(self, run: Run, claim: tuple[Any, ...] = (None, None, None)) -> None:
        """Request a stop of ``run`` unless ``claim``, which is that of its row, is its own."""
        status, attempt, _ = claim
        is_over = run.transition is not None
        if not is_over and claim != (Status.RUNNING, run.attempt, self._worker):
            request_stop(run.task, reason_to_stop(status if attempt == run.attempt else None))


def _is_open(run: Run) -> bool:
    """Whether something may be found of ``run`` that is not known yet."""
    if run.task._stop_reason is StopReason.CANCELED:
        return run.function_call.is_entered and not run.is_ended
    return run.task._stop_reason is not StopReason.SUPERSEDED


def _queries(using: str, runs: Iterable[Run]) -> dict[Run, BoundQuery]:
    # One for each run: the text of a key, by which rows of all tables could be found together, is
    # not always what Python writes.
    claims, events = cache(partial(_claims, using=using)), cache(partial(_events, using=using))
    queries = {}
    for run in runs:
        if run.using == using:
            is_canceled = run.task._stop_reason is StopReason.CANCELED
            query = (events if is_canceled else claims)(table_model(type(run.task)))
            values = {"attempt": run.attempt} if is_canceled else {}
            queries[run] = BoundQuery(query, {"pk": run.pk, **values})
    return queries


def _claims(root: type[SimpleTask], using: str) -> Any:
    rows = rows_of(root, using).filter(pk=Placeholder("pk", root._meta.pk))
    return rows.values_list("status", "attempt", "worker")


def _events(root: type[SimpleTask], using: str) -> Any:
    """The cancel of an attempt, and notes that followed it."""
    attempt = Placeholder("attempt", root._meta.get_field("attempt"))
    events = events_of(root, using).filter(
        task=Placeholder("pk", root._meta.pk),
        attempt=attempt,
        kind__in=[EventKind.CANCEL, EventKind.NOTE],
        to_status=Status.CANCELED,
    )
    return events.order_by("-sequence").values_list("to_status", "attempt", "data")

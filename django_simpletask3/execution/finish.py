"""The way of a task through a worker: started, performed, finished, in batches at both ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta

from ..conf import backoff
from ..db import clock
from ..db.errors import is_transient
from ..ledger.event import since_fresh_start
from ..states import EventKind
from ..transitions.best_effort import apply_each
from .run import Run, _failure, _last_word
from .settle import give_back, settle

_logger = logging.getLogger(__name__)


def finish(runs: Sequence[Run]) -> list[Run]:
    """Record how the runs ended, together, then settle their messages.

    Database errors that may pass are raised and the same call can be made again: what was recorded
    already is not recorded twice. A run whose outcome cannot be written as it is has failed. What
    was not recorded is returned, with its error as ``move.failure``: if that passes, the run is to
    be finished again; else not even its failure can be written, and its lease is to be let go.
    """
    for run in runs:
        _choose_retry(run)
    _record(runs)
    refused = [run for run in runs if _is_to_blame(run)]
    for run in refused:
        _replace_by_failure(run)
    if refused:
        _record(refused)
    for kind_is_ack in (True, False):
        done = [run for run in runs if _has_ended(run, kind_is_ack)]
        settle([run.message for run in done if run.message], result=kind_is_ack)
    return [run for run in runs if run.move and run.move.error]


def _record(runs: Sequence[Run]) -> None:
    apply_each([run.move for run in runs if run.move is not None])


def _is_to_blame(run: Run) -> bool:
    failure = run.move.error if run.move else None
    return failure is not None and not is_transient(failure)


def _has_ended(run: Run, kind_is_ack: bool) -> bool:
    move = run.move
    return bool(move and not move.error and (move.kind is EventKind.ACK) is kind_is_ack)


def release(runs: Iterable[Run], reason: str) -> list[Run]:
    """Give tasks back unfinished: PENDING again, at the head of the queue; those that were ours."""
    moves = {run: _last_word(run, EventKind.RELEASE, reason=reason) for run in runs}
    apply_each(list(moves.values()))
    given = [run for run, move in moves.items() if move.event is not None]
    give_back([run.message for run in given if run.message], reason)
    return given


def _choose_retry(run: Run) -> None:
    """Turn a failure into a retry while the task has retries left."""
    allowed = run.task.django_simpletask3_max_retries or 0
    if run.move is None or run.move.kind is not EventKind.FAIL or allowed <= 0:
        return
    begun = (EventKind.ENQUEUE, EventKind.RESET)
    used = since_fresh_start(run.task, [EventKind.RETRY], begun).count()
    if used >= allowed:
        return
    using = run.task._state.db or "default"
    delay = backoff.exponential(used + 1)
    values = {**run.move.values, "run_after": clock.now(using) + timedelta(seconds=delay)}
    data = {
        **run.move.data,
        "retry_in": round(delay, 3),
        "traceback": (run.move.error_data or {}).get("traceback"),
    }
    run.move = _last_word(
        run, EventKind.RETRY, error_data=run.move.error_data, values=values, data=data
    )


def _replace_by_failure(run: Run) -> None:
    """The outcome cannot be written as it is: then that is the outcome."""
    error = run.move.error if run.move else None
    _logger.error("finish_failed model=%s pk=%s", run.task._meta.label, run.pk, exc_info=error)
    if error is not None:
        run.move = _failure(run, error)

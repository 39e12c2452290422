"""The way of a task through a worker: started, performed, finished, in batches at both ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta

from ..conf import backoff
from ..db import clock
from ..db.errors import is_transient
from ..ledger.event import events_since_reset
from ..states import EventKind, kinds_where
from ..transitions.best_effort import apply_each
from .run import Run, _failure, _outcome
from .settle import acknowledge, return_messages

_logger = logging.getLogger(__name__)

#: After one of these the retries of a task are counted anew.
_RESET_KINDS = kinds_where(lambda spec: spec.resets_retries)


def finish(runs: Sequence[Run]) -> list[Run]:
    """Record how the runs ended, together, then settle their messages.

    Database errors that may pass are raised and the same call can be made again: what was recorded
    already is not recorded twice. A run whose outcome cannot be written as it is has failed. What
    was not recorded is returned, with its error as ``move.failure``: if that passes, the run is to
    be finished again; else not even its failure can be written, and its lease is to be let go.
    """
    for run in runs:
        _choose_retry(run)
    _apply_outcomes(runs)
    unwritable = [run for run in runs if _has_permanent_error(run)]
    for run in unwritable:
        _replace_by_failure(run)
    if unwritable:
        _apply_outcomes(unwritable)
    for is_ack in (True, False):
        finished = [run for run in runs if _is_recorded(run, is_ack)]
        acknowledge([run.message for run in finished if run.message], result=is_ack)
    return [run for run in runs if run.transition and run.transition.error]


def _apply_outcomes(runs: Sequence[Run]) -> None:
    apply_each([run.transition for run in runs if run.transition is not None])


def _has_permanent_error(run: Run) -> bool:
    error = run.transition.error if run.transition else None
    return error is not None and not is_transient(error)


def _is_recorded(run: Run, is_ack: bool) -> bool:
    transition = run.transition
    return bool(
        transition and not transition.error and (transition.kind is EventKind.ACK) is is_ack
    )


def release(runs: Iterable[Run], reason: str) -> list[Run]:
    """Give tasks back unfinished: PENDING again, at the head of the queue; those that were ours."""
    transitions = {run: _outcome(run, EventKind.RELEASE, reason=reason) for run in runs}
    apply_each(list(transitions.values()))
    released = [run for run, transition in transitions.items() if transition.event is not None]
    return_messages([run.message for run in released if run.message], reason)
    return released


def _choose_retry(run: Run) -> None:
    """Turn a failure into a retry while the task has retries left."""
    max_retries = run.task.django_simpletask3_max_retries or 0
    if run.transition is None or run.transition.kind is not EventKind.FAIL or max_retries <= 0:
        return
    retries = events_since_reset(run.task, [EventKind.RETRY], _RESET_KINDS).count()
    if retries >= max_retries:
        return
    using = run.task._state.db or "default"
    delay = backoff.exponential_delay(retries + 1)
    values = {**run.transition.values, "run_after": clock.now(using) + timedelta(seconds=delay)}
    data = {
        **run.transition.data,
        "retry_in": round(delay, 3),
        "traceback": (run.transition.error_data or {}).get("traceback"),
    }
    run.transition = _outcome(
        run, EventKind.RETRY, error_data=run.transition.error_data, values=values, data=data
    )


def _replace_by_failure(run: Run) -> None:
    """The outcome cannot be written as it is: then that is the outcome."""
    error = run.transition.error if run.transition else None
    _logger.error("finish_failed model=%s pk=%s", run.task._meta.label, run.pk, exc_info=error)
    if error is not None:
        run.transition = _failure(run, error)

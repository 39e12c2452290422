"""Log how attempts ended, with the exceptions that task functions raised."""

from __future__ import annotations

import logging

from ...ledger.task_row import task_reference
from ...logs import get_logger
from ...states import EventKind
from ...transitions.transition import Transition
from ..run import Run

#: Monitoring that reads logs, as Sentry does, finds the failures of tasks under this name.
_logger = get_logger("django_simpletask3.tasks")

_STOPPED = "stopped"  # the function stopped because another event had ended its attempt
_LEVELS: dict[str, int] = {
    _STOPPED: logging.INFO,
    EventKind.ACK: logging.INFO,
    EventKind.SNOOZE: logging.INFO,
    EventKind.CANCEL: logging.INFO,
    EventKind.RELEASE: logging.INFO,
    EventKind.EXPIRE: logging.INFO,
    EventKind.FAIL: logging.ERROR,
}


def log_outcome(run: Run) -> None:
    """Log the outcome of ``run``; a failure with its traceback, by which the run lets go of it."""
    transition, error = run.last_transition, run.error
    run.error = None
    if transition is None:
        return
    outcome = _outcome_of(transition)
    level = _LEVELS.get(outcome, logging.WARNING)
    if not _logger.isEnabledFor(level):
        return
    _logger.log(
        level,
        "task_%s model=%s pk=%s attempt=%s seconds=%.3f",
        outcome,
        run.task._meta.label,
        run.pk,
        run.attempt,
        run.seconds,
        exc_info=error,
        extra={
            "task": task_reference(run.task, run.pk),
            "attempt": run.attempt,
            "worker": run.worker,
        },
    )


def _outcome_of(transition: Transition) -> str:
    if transition.event is not None:
        return str(transition.kind)
    return "rejected" if transition.by_holder else _STOPPED

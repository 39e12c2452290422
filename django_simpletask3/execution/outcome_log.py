"""Log how attempts ended, with the exceptions that task functions raised."""

from __future__ import annotations

import logging

from ..ledger.task_row import task_reference
from ..logs import get_logger
from ..states import EventKind
from .run import Run

#: Monitoring that reads logs, as Sentry does, finds the failures of tasks under this name.
_logger = get_logger("django_simpletask3.tasks")

_LEVELS = {
    EventKind.ACK: logging.INFO,
    EventKind.SNOOZE: logging.INFO,
    EventKind.CANCEL: logging.INFO,
    EventKind.FAIL: logging.ERROR,
}


def log_outcome(run: Run) -> None:
    """Log the outcome of ``run``; a failure with its traceback, by which the run lets go of it."""
    transition, error = run.transition, run.error
    run.error = None
    if transition is None:
        return
    is_rejected = transition.event is None
    level = logging.WARNING if is_rejected else _LEVELS.get(transition.kind, logging.WARNING)
    if not _logger.isEnabledFor(level):
        return
    _logger.log(
        level,
        "task_%s model=%s pk=%s attempt=%s seconds=%.3f",
        "rejected" if is_rejected else transition.kind,
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

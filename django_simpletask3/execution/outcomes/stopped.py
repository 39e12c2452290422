"""The outcome of a task function that had to stop, and did, or that was not called."""

from __future__ import annotations

import time

from ...exceptions import StopReason, TimeLimitExceeded
from ...ledger.stop_signal import ENDED_BY_OTHERS
from ...states import EventKind
from ...transitions.transition import Transition
from ..run import Run, failure_of, outcome_of


def stopped_outcome(run: Run, error: BaseException) -> Transition:
    """The outcome of a run whose function raised TaskStopped; the reason of its task counts.

    After ``cancel()``, ``reset()`` or the loss of the lease nothing is recorded, no ``reject``
    either; after the time limit a failure; of a stopping worker a ``release``. A function that
    raises TaskStopped for no reason fails.
    """
    task = run.task
    reason = task._stop_reason
    if reason is StopReason.TIME_LIMIT:
        return failure_of(run, time_limit_error(run).with_traceback(error.__traceback__))
    if reason in ENDED_BY_OTHERS:
        return ended_by_others(run)
    if reason is StopReason.WORKER_STOPPING or run.is_worker_stopping():
        return outcome_of(run, EventKind.RELEASE, reason=StopReason.WORKER_STOPPING)
    return failure_of(run, error)


def ended_by_others(run: Run) -> Transition:
    """Record nothing of ``run``, whose attempt another event has ended.

    If none has, because a cancel or a reset was rolled back, the task is given back.
    """
    return Transition(
        run.task,
        EventKind.RELEASE,
        reason="not_canceled",
        worker=run.worker,
        expected=run.fence,
        by_holder=False,  # a refusal is no late result
    )


def expired_outcome(run: Run) -> tuple[Transition, Transition]:
    """Release a task that has expired before its function was called, and let it expire.

    Both are recorded in one transaction. No task expires while it is RUNNING: so the stream shows
    that the function was not called.
    """
    release = outcome_of(run, EventKind.RELEASE, reason="expired")
    release.last_known_row = None  # else it is a statement, and so a transaction, of its own
    return release, Transition(run.task, EventKind.EXPIRE, worker=run.worker)


def time_limit_error(run: Run) -> TimeLimitExceeded:
    """Say which limit was exceeded, and how long the function ran."""
    limit = run.task.get_time_limit()
    seconds = time.monotonic() - run.started_monotonic
    label = run.task._meta.label
    return TimeLimitExceeded(
        f"It ran for {seconds:.1f} s; django_simpletask3_time_limit of {label} is {limit} s."
    )

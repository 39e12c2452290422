"""What follows from the error of a task function: a retry, a snooze, a cancel, or a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import cast

from ...db import clock
from ...exceptions import Cancel, Retry, Snooze
from ...logs import get_logger
from ...models.task import SimpleTask
from ...retries import seconds_of
from ...running.tries import Tries
from ...states import EventKind
from ...transitions.transition import Transition
from .. import call
from ..run import Run, outcome_of
from .errors import is_retried, request_in

_logger = get_logger(__name__)

_MIN_SNOOZE = 1.0  # seconds
_BOTH = "When its next try was planned, this was raised:"


def decide(run: Run) -> None:
    """Replace the failure of ``run`` by what follows from its ``undecided`` error, if it has one.

    Call it in the thread of the task function, after its end: it calls the backoff. An error of the
    database is raised: then the same call can be made again, also in another thread.
    """
    if run.undecided is None:
        return
    plan = _plan_for(run, run.undecided)
    try:
        plan()
    except BaseException as problem:  # a backoff may call sys.exit()
        fail_with_both(run, problem)
    run.undecided = None


def fail_with_both(run: Run, problem: BaseException) -> None:
    """Let ``run`` fail, with its undecided error and with ``problem``, which prevents a retry."""
    error, run.undecided = run.undecided, None
    _logger.error(
        "next_try_not_planned model=%s pk=%s error=%s",
        run.task._meta.label,
        run.pk,
        problem,
        exc_info=problem,
    )
    if error is None or error is problem:
        return
    first, second = call.error_as_dict(error), call.error_as_dict(problem)
    error_data = {
        "type": first["type"],
        "message": f"{first['message']}\n{_BOTH} {second['type']}: {second['message']}",
        "traceback": f"{first['traceback']}\n{_BOTH}\n\n{second['traceback']}",
    }
    run.transition = replace(_failure_of(run), error_data=error_data)


def _plan_for(run: Run, error: BaseException) -> Callable[[], None]:
    """What follows from ``error``, still to be done; events that matter are read here."""
    error = request_in(error)
    if isinstance(error, Cancel):
        return partial(_cancel, run, error)
    if isinstance(error, Snooze):
        return partial(_snooze, run, error, run.tries())
    if is_retried(run.task, error):
        has_deadline = run.task.django_simpletask3_retry_for is not None
        return partial(_retry, run, error, run.tries(needs_time=has_deadline))
    if run.task.django_simpletask3_max_retries != 0:
        return partial(_fail, run, error, reason="error_not_retried")
    return lambda: None


def _retry(run: Run, error: BaseException, tries: Tries) -> None:
    limit, number = run.task.django_simpletask3_max_retries, tries.retries + 1
    if limit is not None and number > limit:
        why = f"not tried again: django_simpletask3_max_retries is {limit}"
        _fail(run, error, why, reason="no_retry_left")
        return
    moment = _time_of_retry(run, error, number)
    if _is_too_late(run.task, tries, moment):
        why = "not tried again: django_simpletask3_retry_for is over"
        _fail(run, error, why, reason="retry_time_over")
        return
    failure = _failure_of(run)
    data = {
        **failure.data,
        "retry_in": _seconds_until(moment, run),
        "traceback": (failure.error_data or {}).get("traceback"),
    }
    run.transition = outcome_of(
        run,
        EventKind.RETRY,
        reason=error.reason if isinstance(error, Retry) else "",
        error_data=failure.error_data,
        values={**failure.values, "run_after": moment},
        data=data,
    )


def _time_of_retry(run: Run, error: BaseException, number: int) -> datetime:
    name, after = "after", error.after if isinstance(error, Retry) else None
    if after is None:
        backoff = run.task._backoff
        name, after = "what django_simpletask3_retry_backoff returned", backoff(number, error)
    return max(clock.moment_of(after, run.using, name=name), clock.now(run.using))


def _is_too_late(task: SimpleTask, tries: Tries, moment: datetime) -> bool:
    limit = task.django_simpletask3_retry_for
    if limit is None or tries.began_at is None:
        return False
    return (moment - tries.began_at).total_seconds() > seconds_of(limit)


def _snooze(run: Run, error: Snooze, tries: Tries) -> None:
    limit = run.task.django_simpletask3_max_snoozes
    if tries.snoozes >= limit:
        why = f"not snoozed again: django_simpletask3_max_snoozes is {limit}"
        _fail(run, error, why, reason="no_snooze_left")
        return
    earliest = clock.after(run.using, _MIN_SNOOZE)
    moment = max(clock.moment_of(error.after, run.using, name="after"), earliest)
    failure = _failure_of(run)
    data = {**failure.data, "snooze_in": _seconds_until(moment, run)}
    values = {**failure.values, "run_after": moment}
    run.transition = outcome_of(
        run, EventKind.SNOOZE, reason=error.reason, values=values, data=data
    )
    run.error = None


def _cancel(run: Run, error: Cancel) -> None:
    failure = _failure_of(run)
    run.transition = outcome_of(
        run, EventKind.CANCEL, reason=error.reason, values=failure.values, data=failure.data
    )
    run.error = None


def _fail(run: Run, error: BaseException, why: str = "", *, reason: str) -> None:
    """Let ``run`` fail. Its event has the ``reason`` for which it is not tried again.

    What the task function asked for, and does not get, is explained to it: ``why`` is added to the
    message of its error.
    """
    failure = _failure_of(run)
    if why and failure.error_data is not None and isinstance(error, Retry | Snooze):
        failure.error_data["message"] = f"{failure.error_data['message']} ({why})".strip()
    run.transition = replace(failure, reason=reason)


def _failure_of(run: Run) -> Transition:
    return cast("Transition", run.transition)


def _seconds_until(moment: datetime, run: Run) -> float:
    return max(0.0, round((moment - clock.now(run.using)).total_seconds(), 3))

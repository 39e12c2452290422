"""Call the task function and keep its outcome."""

from __future__ import annotations

import time

from ..exceptions import TimeLimitExceeded
from ..states import EventKind
from ..transitions.transition import Transition
from . import call
from .function_context import inherit_context
from .run import Run, failure_of, outcome_of


def perform(run: Run) -> None:
    """Call the task function and keep its outcome as ``run.transition``; never raises."""
    run.started_monotonic = time.monotonic()
    try:
        before = call.field_values(run.task)
        transition = _run_function(run)
        transition.values = {**call.changed_fields(run.task, before), **transition.values}
    except Exception as error:
        transition = failure_of(run, error)
    run.seconds = time.monotonic() - run.started_monotonic
    transition.data["seconds"] = round(run.seconds, 6)
    run.transition = transition


def _run_function(run: Run) -> Transition:
    message = run.message.as_dict if run.message else None
    run.task._running_attempt = run
    try:
        with inherit_context(run.task), run.function_call as interruptible:
            result = call.call_function(
                run.task, worker=run.worker, msg=message, interruptible=interruptible
            )
    except BaseException as error:  # sys.exit() in a task function ends the task, not the thread
        _explain_time_limit(run, error)
        return failure_of(run, error)
    finally:
        run.task._running_attempt = None
        _restore_instance(run)
    return outcome_of(run, EventKind.ACK, result=result)


def _explain_time_limit(run: Run, error: BaseException) -> None:
    """Say which limit was exceeded, and how long the function ran: only a class can be raised."""
    if isinstance(error, TimeLimitExceeded) and not error.args:
        limit = run.task.get_time_limit()
        seconds = time.monotonic() - run.started_monotonic
        label = run.task._meta.label
        error.args = (
            f"It ran for {seconds:.1f} s; django_simpletask3_time_limit of {label} is {limit} s.",
        )


def _restore_instance(run: Run) -> None:
    """Undo what a copy under another key did (test_a_task_that_copies_itself_is_finished)."""
    run.task.pk = run.pk
    run.task._state.adding, run.task._state.db = False, run.using

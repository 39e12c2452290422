"""Call the task function and keep its outcome."""

from __future__ import annotations

import time

from ..exceptions import TimeLimitExceeded, is_stopped
from ..ledger.stop_signal import ENDED_BY_OTHERS, FunctionNotCalled
from ..limits.declared import check_key
from ..logs import get_logger
from ..states import EventKind
from ..transitions.expiry import has_expired
from ..transitions.transition import Transition
from . import call
from .contexts.inherited import inherit_context
from .outcomes.decision import decide
from .outcomes.stopped import (
    ended_by_others,
    expired_outcome,
    stopped_outcome,
    time_limit_error,
)
from .run import Run, failure_of, outcome_of
from .simulated_crash import SimulatedCrash

_logger = get_logger(__name__)

#: Seconds for which a thread waits before it gives back what it could not begin.
_AWAY_SECONDS = 1.0


def perform(run: Run) -> None:
    """Call the task function and keep its outcome as ``run.transition``; raises no errors.

    The function of a task that was canceled, reset or recovered since its claim is not called; one
    that has expired since then is released, and expires. What follows from an error is decided
    here, unless the database cannot be read: then ``finish`` decides it.
    """
    if run.task._stop_reason in ENDED_BY_OTHERS:
        run.transition = ended_by_others(run)
        return
    if has_expired(run.task):
        run.transition, run.expiry = expired_outcome(run)
        return
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
    try:
        decide(run)
    except Exception as error:
        label = run.task._meta.label
        _logger.debug("outcome_undecided model=%s pk=%s error=%s", label, run.pk, error)


def _run_function(run: Run) -> Transition:
    message = run.message.as_dict if run.message else None
    run.task._running_attempt = run
    try:
        with inherit_context(run.task), run.function_call as interruptible:
            check_key(run.task)  # it was given no place, if there is no key
            result = call.call_function(
                run.task, worker=run.worker, msg=message, interruptible=interruptible
            )
    except SimulatedCrash:
        raise  # it has no outcome
    except BaseException as error:  # sys.exit() in a task function ends the task, not the thread
        return _outcome_of_error(run, error)
    finally:
        run.task._running_attempt = None
        if run.progress_writer is not None:
            run.progress_writer.forget(run)
        _restore_instance(run)
    return outcome_of(run, EventKind.ACK, result=result)


def _outcome_of_error(run: Run, error: BaseException) -> Transition:
    if isinstance(error, FunctionNotCalled):
        label, cause = run.task._meta.label, error.__cause__
        _logger.warning("function_not_called model=%s pk=%s error=%s", label, run.pk, cause)
        time.sleep(
            _AWAY_SECONDS
        )  # its message goes to the head of the queue: it is claimed at once
        return outcome_of(run, EventKind.RELEASE, reason="database_away")
    if is_stopped(error):
        return stopped_outcome(run, error)
    if isinstance(error, TimeLimitExceeded) and not error.args:
        error.args = time_limit_error(run).args  # only a class can be raised in a thread
    return failure_of(run, error)


def _restore_instance(run: Run) -> None:
    """Undo what a copy under another key did (test_a_task_that_copies_itself_is_finished)."""
    run.task.pk = run.pk
    run.task._state.adding, run.task._state.db = False, run.using

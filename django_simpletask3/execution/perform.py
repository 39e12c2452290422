"""Call the task function and keep its outcome."""

from __future__ import annotations

import time

from ..states import EventKind
from ..transitions.transition import Transition
from . import call
from .function_context import inherited
from .run import Run, _failure, _last_word


def perform(run: Run) -> None:
    """Run the body and note how it ended as the run's move; never raises."""
    run.began = time.monotonic()
    try:
        before = call.snapshot(run.task)
        move = _outcome(run)
        move.values = {**call.assigned(run.task, before), **move.values}
    except Exception as error:
        move = _failure(run, error)
    run.seconds = time.monotonic() - run.began
    move.data["seconds"] = round(run.seconds, 6)
    run.move = move


def _outcome(run: Run) -> Transition:
    message = run.message.as_dict if run.message else None
    try:
        with inherited(run.task), run.body:
            returned = call.call(run.task, worker=run.worker, msg=message)
    except BaseException as error:  # sys.exit() in a body ends the task, not the thread
        return _failure(run, error)
    finally:
        _reclaim(run)
    return _last_word(run, EventKind.ACK, result=returned)


def _reclaim(run: Run) -> None:
    """Make the instance stand for its row again (test_a_task_that_copies_itself_is_finished)."""
    run.task.pk = run.pk
    run.task._state.adding, run.task._state.db = False, run.using

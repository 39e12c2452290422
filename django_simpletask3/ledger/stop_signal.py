"""Tell the running function of a task to stop, and why."""

from __future__ import annotations

from ..exceptions import StopReason
from ..states import Status
from .task_row import TaskRow

#: A reason replaces an earlier one that is not stronger: a task that was canceled stays canceled.
_STRENGTH: dict[StopReason | None, int] = {
    None: 0,
    StopReason.WORKER_STOPPING: 1,
    StopReason.TIME_LIMIT: 2,
    StopReason.SUPERSEDED: 3,
    StopReason.CANCELED: 3,
}
#: Reasons for which another event than the outcome of the task function has ended the attempt.
ENDED_BY_OTHERS = frozenset({StopReason.CANCELED, StopReason.SUPERSEDED})


class FunctionNotCalled(Exception):
    """Raised by ``do_task()`` before it calls a function: the task is given back, at no cost.

    Its cause is the error of the database that could not be read.
    """


def announce_stop(task: TaskRow, reason: StopReason) -> None:
    """Let ``check_stop()`` raise in the function of ``task``, whose result still counts."""
    if _STRENGTH[reason] >= _STRENGTH[task._stop_reason]:
        task._stop_reason = reason


def request_stop(task: TaskRow, reason: StopReason) -> None:
    """Let ``check_stop()`` raise in the function of ``task``, and set ``should_stop``."""
    announce_stop(task, reason)  # first: a function that waits for the flag reads the reason then
    TaskRow.stop_flag(task).set()  # a column may hide the method


def clear_stop(task: TaskRow) -> None:
    """Forget what was asked of an earlier attempt: a new one begins with this instance."""
    for name in ("_stop_reason", "_stop_flag"):
        vars(task).pop(name, None)


def reason_to_stop(status: object) -> StopReason:
    """Why an attempt ends that has lost its task, which is in ``status`` now."""
    return StopReason.CANCELED if status == Status.CANCELED else StopReason.SUPERSEDED

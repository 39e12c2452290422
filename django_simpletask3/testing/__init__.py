"""Public: run tasks in tests, and assert what happened, without Redis and without a worker."""

from .assertions import (
    TaskAssertions,
    assertEnqueued,
    assertNoTasksLeft,
    assertNotEnqueued,
    assertTaskEvents,
)
from .capture import capture_enqueued, capture_events
from .clock import TaskClock, task_clock
from .crashes.crash_points import crash_after, crash_before
from .crashes.idempotency import assert_idempotent
from .crashes.recovery import late_result, lose_message, lose_worker, recover
from .eager import eager_tasks
from .run import RunResult, TooManyRuns, arun_tasks, run_tasks
from .worker import TaskWorker, task_worker

__all__ = [
    "RunResult",
    "TaskAssertions",
    "TaskClock",
    "TaskWorker",
    "TooManyRuns",
    "arun_tasks",
    "assertEnqueued",
    "assertNoTasksLeft",
    "assertNotEnqueued",
    "assertTaskEvents",
    "assert_idempotent",
    "capture_enqueued",
    "capture_events",
    "crash_after",
    "crash_before",
    "eager_tasks",
    "late_result",
    "lose_message",
    "lose_worker",
    "recover",
    "run_tasks",
    "task_clock",
    "task_worker",
]

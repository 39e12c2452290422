"""Run waiting tasks immediately, in the current process."""

from __future__ import annotations

import os
import uuid

from django.db import connections

from ...conf.leases import policy_of
from ...db import clock
from ...execution.finish import finish
from ...execution.outcomes.log import log_outcome
from ...execution.perform import perform
from ...execution.run import Run
from ...ledger.task_row import write_database
from ...models.task import SimpleTask
from ...states import EventKind, Status
from ...transitions.best_effort import apply_each
from ...transitions.transition import Transition
from ...worker.watch.worker_name import worker_name
from .outcomes import Outcome, outcome_of


def run_tasks_inline(tasks: list[SimpleTask], reason: str) -> list[Outcome]:
    """Start, perform and finish ``tasks``, one after the other; return their outcomes.

    As in a worker, start and finish have transactions of their own, with none open in between.
    The lease is not renewed: a task that outlasts it is recovered, and its result refused. If
    this process dies, a node on the same machine notices and recovers the task at once.
    With ATOMIC_REQUESTS no task is run.
    """
    return [_run(task, reason) for task in tasks]


def can_run_inline(tasks: list[SimpleTask]) -> list[SimpleTask]:
    """The tasks that no transaction of the request would enclose."""
    return [task for task in tasks if not _is_enclosed(task)]


def _is_enclosed(task: SimpleTask) -> bool:
    return bool(connections[write_database(task)].settings_dict.get("ATOMIC_REQUESTS"))


def _run(task: SimpleTask, reason: str) -> Outcome:
    if _is_enclosed(task):
        return Outcome.ENCLOSED
    worker = worker_name(os.getpid(), uuid.uuid4().hex[:8])
    start = _start_transition(task, worker, reason)
    apply_each([start])
    if start.event is None:
        return outcome_of(start)
    run = Run(task, worker)
    perform(run)
    if finish([run]):
        return Outcome.GONE
    log_outcome(run)
    return Outcome.DONE if task.status == Status.SUCCESS else Outcome.FAILED


def _start_transition(task: SimpleTask, worker: str, reason: str) -> Transition:
    lease = policy_of(task.get_event_channel()).lease
    clock.refresh(write_database(task))  # a web process may never have read it
    return Transition(
        task,
        EventKind.START,
        reason=reason,
        worker=worker,
        data={"claim": str(uuid.uuid4())},
        values={"check_at": clock.after(write_database(task), lease)},
    )

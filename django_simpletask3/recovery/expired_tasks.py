"""Cancel tasks that had not started when they expired."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..db import clock
from ..ledger.task_row import has_expiry
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..states import WAITING, EventKind
from ..transitions.expiry import log_expired
from ..transitions.transition import Transition, known_row
from .lost_messages import apply_and_count, load_readable
from .table_operations import MAX_TASKS, for_each_table, run_in_batches


def expire_tasks(limit: int = 500) -> int:
    """Cancel the waiting and blocked tasks that have expired; the number of tasks.

    Works in batches of ``limit`` rows, for at most 2000 tasks of each table, and without Redis.
    """
    return for_each_table(partial(_expire_in, limit=limit))


def _expire_in(root: type[SimpleTask], using: str, limit: int) -> int:
    if not has_expiry(root):
        return 0
    clock.calibrate(using)
    now = clock.now(using)
    waiting = rows_of(root, using).filter(status__in=WAITING, check_at__lte=now)
    return run_in_batches(
        waiting.filter(expires_at__lte=now),
        limit,
        lambda pks: _expire(load_readable(root, using, pks)),
        max_batches=max(1, MAX_TASKS // limit),
    )


def _expire(tasks: Sequence[SimpleTask]) -> int:
    transitions = [
        Transition(task, EventKind.EXPIRE, last_known_row=known_row(task)) for task in tasks
    ]
    count = apply_and_count(transitions)
    log_expired(t.task for t in transitions if t.event is not None)
    return count

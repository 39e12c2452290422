"""Cancel tasks that had not started when they expired."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial

from ..db import clock
from ..ledger.task_row import has_expiry
from ..models.each_database import in_each_database
from ..models.queryset import rows_of, waiting_by_check_at
from ..models.registry import table_models, tables_in, task_databases
from ..models.task import SimpleTask
from ..states import WAITING, EventKind
from ..transitions.expiry import log_expired
from ..transitions.transition import Transition, known_row
from .lost_messages import apply_and_count, load_readable
from .table_operations import MAX_TASKS, run_guarded


def expire_tasks(
    limit: int = 200,
    seconds: float = math.inf,
    models: Iterable[type[SimpleTask]] | None = None,
) -> int:
    """Cancel the waiting and blocked tasks of ``models``, or all, that have expired; their number.

    Works in batches of ``limit`` rows, for at most 2000 tasks of each database, and without Redis.
    The tables take turns, so that a backlog of one does not keep the others waiting. No batch
    begins after ``seconds``.
    """
    roots = [root for root in table_models(models) if has_expiry(root)]
    expire = partial(_expire_in, roots=roots, limit=limit, seconds=seconds)
    return sum(in_each_database(expire, task_databases(roots)).values())


def _expire_in(using: str, roots: Sequence[type[SimpleTask]], limit: int, seconds: float) -> int:
    tables, total, remaining = deque(tables_in(using, roots)), 0, MAX_TASKS
    latest = time.monotonic() + seconds
    while tables and remaining > 0 and (total == 0 or time.monotonic() < latest):
        root = tables.popleft()
        found, count = run_guarded(root, using, partial(_expire_batch, limit=limit)) or (0, 0)
        total, remaining = total + count, remaining - found
        if found == limit:
            tables.append(root)
    return total


def _expire_batch(root: type[SimpleTask], using: str, limit: int) -> tuple[int, int]:
    """Cancel the longest overdue tasks of the table; how many were found, and canceled."""
    clock.refresh(using)
    now = clock.now(using)
    waiting = waiting_by_check_at(rows_of(root, using), sorted(WAITING)).filter(check_at__lte=now)
    expired = waiting.filter(expires_at__lte=now).order_by("check_at")
    pks = list(expired.values_list("pk", flat=True)[:limit])
    return len(pks), _expire(load_readable(root, using, pks)) if pks else 0


def _expire(tasks: Sequence[SimpleTask]) -> int:
    transitions = [
        Transition(task, EventKind.EXPIRE, last_known_row=known_row(task)) for task in tasks
    ]
    count = apply_and_count(transitions)
    log_expired(t.task for t in transitions if t.event is not None)
    return count

"""Finding what was lost (workers, leases, bells that never rang) and putting it back to work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from django.db import Error

from ..db import clock
from ..exceptions import QueueUnavailable
from ..ledger.task_row import table_model, write_database
from ..models.loading import load_tasks
from ..models.queryset import TaskQuerySet, rows_of
from ..models.registry import databases_of, table_models
from ..models.task import SimpleTask
from ..queue import get_queue
from . import lost_messages
from .lost_messages import load_readable
from .lost_workers import recover_or_drop

_logger = logging.getLogger(__name__)

LEASE_EXPIRED = "lease_expired"
WORKER_DIED = "worker_died"
NODE_RESTARTED = "node_restarted"
TIME_LIMIT = "time_limit"

_MAX_BATCHES = 100
#: Bells in doubt in one pass: half a second's work, so that a backlog of any size, which may come
#: into doubt at one instant, does not keep the workers of this process from the interpreter.
_MAX_MESSAGES = 2000
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.0)


def recover_all(limit: int = 500) -> int:
    """Look after every task for which somebody should have acted by now; the number moved or rung.

    In slices of ``limit`` rows; may run in any number of processes at once. One row or table that
    fails is logged and stops no other. Ended leases come first: they need the database only.
    """
    count = recover_expired_leases(limit)
    try:
        return count + push_overdue(limit)
    except QueueUnavailable as error:
        _logger.warning("ringing_failed error=%s", error)
        return count


def recover_expired_leases(
    limit: int = 500, may_judge: Callable[[str], bool] = lambda using: True
) -> int:
    """Recover the tasks whose lease has ended; their number. Asks Redis for nothing.

    ``may_judge`` says of a database, after its clock was read, whether its leases may be judged.
    """
    return sum(
        _run_guarded(root, using, partial(_recover_expired_in, limit=limit, may_judge=may_judge))
        for root, using in _tables()
    )


def push_overdue(limit: int = 500) -> int:
    """Ring for the waiting tasks whose bell is due, or in doubt; the number rung.

    Raises QueueUnavailable as soon as Redis does not answer or takes no message: it is not asked
    again in this pass.
    """
    return sum(
        _run_guarded(root, using, partial(_push_overdue_in, limit=limit))
        for root, using in _tables()
    )


def detect_redis_reset(limit: int = 1000) -> int:
    """Doubt the bells of all waiting tasks if Redis has lost its memory; how many were in trust.

    Then ``silent`` finds those whose message is gone. Death in between repeats it: the mark by
    which Redis is known is set in the end. Raises QueueUnavailable if Redis does not answer, and
    database errors, to be called again.
    """
    queue = get_queue()
    if not queue.has_lost_data():
        return 0
    count = sum(lost_messages.distrust_messages(root, using, limit) for root, using in _tables())
    queue.write_marker()
    _logger.warning("redis_was_blank doubted=%s", count)
    return count


def recover_dead_workers(workers: Iterable[str], reason: str = WORKER_DIED, **evidence: Any) -> int:
    """Recover at once the tasks held by ``workers``, which are known to be dead; their number.

    ``evidence`` goes into the events.
    """
    names = list(workers)
    if not names:
        return 0
    count = sum(
        _run_guarded(
            root,
            using,
            partial(_recover_dead_workers_in, workers=names, reason=reason, evidence=evidence),
        )
        for root, using in _tables()
    )
    try:
        # What they had claimed in Redis and not yet started in the database has no event to tell.
        get_queue().expire_leases(names)
        return count + requeue_expired_claims()
    except QueueUnavailable as error:
        # These claims come back when their leases have ended.
        _logger.warning("claims_not_abandoned workers=%s error=%s", len(names), error)
        return count


def requeue_expired_claims(limit: int = 500) -> int:
    """Return messages whose claims have ended to their queues in Redis; their number."""
    return get_queue().recover(limit=limit)["returned"]


def adopt_foreign_claims() -> int:
    """Give the claims of stock SimQ clients a lease, so that ``messages`` finds them; how many."""
    return get_queue().adopt()


def _tables() -> Iterator[tuple[type[SimpleTask], str]]:
    for root in table_models():
        for using in databases_of(root):
            yield root, using


def _run_guarded(
    root: type[SimpleTask], using: str, operation: Callable[[type[SimpleTask], str], int]
) -> int:
    try:
        return operation(root, using)
    except QueueUnavailable:
        raise
    except Error as error:
        # What could not be done now is still due at the next pass.
        _logger.warning(
            "recovery_failed model=%s database=%s error=%s", root._meta.label, using, error
        )
    except Exception:
        _logger.exception("recovery_failed model=%s database=%s", root._meta.label, using)
    return 0


def _recover_expired_in(
    root: type[SimpleTask], using: str, limit: int, may_judge: Callable[[str], bool]
) -> int:
    clock.calibrate(using)
    if not may_judge(using):
        return 0
    rows = rows_of(root, using).lost().running()
    return _run_in_batches(
        rows,
        limit,
        lambda pks: recover_or_drop(load_readable(root, using, pks), LEASE_EXPIRED),
    )


def _push_overdue_in(root: type[SimpleTask], using: str, limit: int) -> int:
    clock.calibrate(using)
    rows = rows_of(root, using).lost().pending()
    return _run_in_batches(
        rows,
        limit,
        lambda pks: lost_messages.push_missing(load_readable(root, using, pks), using),
        max_batches=max(1, _MAX_MESSAGES // limit),
    )


def _run_in_batches(
    rows: TaskQuerySet[Any],
    limit: int,
    operation: Callable[[list[Any]], int],
    max_batches: int = _MAX_BATCHES,
) -> int:
    """``most`` slices of ``limit`` rows, those that wait longest first, while they are full."""
    total = 0
    for _ in range(max_batches):
        pks = list(rows.order_by("check_at").values_list("pk", flat=True)[:limit])
        total += operation(pks) if pks else 0
        if len(pks) < limit:
            break
    return total


def recover_overrun(task: SimpleTask, attempt: int) -> int:
    """Recover a task whose body ran too long and cannot be ended; 1, or 0 if it was moved first."""
    tasks = load_tasks(table_model(type(task)), write_database(task), [task.pk])
    return recover_or_drop(
        [candidate for candidate in tasks if candidate.attempt == attempt], TIME_LIMIT
    )


def recover_dead_local_workers(is_known_dead: Callable[[str], bool]) -> int:
    """Recover what processes held that lived on this machine and are gone; the number.

    A node that is started again finds the tasks of its former life so, without their leases' end.
    """
    worker_names = {worker for root, using in _tables() for worker in _lease_holders(root, using)}
    return recover_dead_workers(filter(is_known_dead, worker_names), NODE_RESTARTED)


def _lease_holders(root: type[SimpleTask], using: str) -> Iterable[str]:
    rows = rows_of(root, using).running().filter(check_at__isnull=False)
    try:
        return list(rows.order_by().values_list("worker", flat=True).distinct())
    except Error as error:
        _logger.warning(
            "recovery_failed model=%s database=%s error=%s", root._meta.label, using, error
        )
        return []


def _recover_dead_workers_in(
    root: type[SimpleTask],
    using: str,
    workers: list[str],
    reason: str,
    evidence: Mapping[str, Any],
) -> int:
    rows = rows_of(root, using).running().filter(worker__in=workers, check_at__isnull=False)
    total = 0
    for pause in _PAUSES:
        tasks = load_readable(root, using, list(rows.values_list("pk", flat=True)))
        count = recover_or_drop(tasks, reason, evidence)
        total += count
        if count == len(tasks):
            break
        # The last transaction of the dead may hold its rows until the database notices
        # (test_rows_that_the_dead_still_hold_are_recovered_when_they_are_free).
        time.sleep(pause)
    return total

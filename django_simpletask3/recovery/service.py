"""Recover lost tasks: expired leases, dead workers, and messages that Redis no longer has.

Every function may run in any number of processes at once. A row or table that fails is logged and
does not stop the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from django.db import DatabaseError, Error

from ..conf.leases import longest_policy
from ..db import clock
from ..db.loading import load_tasks
from ..exceptions import QueueUnavailable
from ..ledger.task_row import table_model, write_database
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.queryset import overdue_rows, rows_of
from ..models.registry import tables_in, task_databases
from ..models.task import SimpleTask
from ..queue import get_queue
from ..transitions.expiry import not_expired
from . import lost_messages
from .expired_tasks import expire_tasks
from .lost_messages import load_readable
from .lost_workers import LostProcess, recover_lost_process, recover_or_drop, without_recorded
from .table_operations import MAX_TASKS, for_each_table, log_database_error, run_in_batches

_logger = get_logger(__name__)

LEASE_EXPIRED = "lease_expired"
WORKER_DIED = "worker_died"
NODE_RESTARTED = "node_restarted"
TIME_LIMIT = "time_limit"
INTERPRETER_HELD = "interpreter_held"

#: Seconds by which the clocks of two processes may differ.
_LEASE_TOLERANCE = 5.0
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.0)

#: Seconds after which messages are checked again, while the check fails in another database.
_RECHECK_SECONDS = 60.0


def recover_all(limit: int = 500) -> int:
    """Recover expired leases and push overdue tasks; return the number of tasks.

    Works in batches of ``limit`` rows. Expired leases and tasks come first: they need only the
    database.
    """
    count = recover_expired_leases(limit) + expire_tasks(limit)
    try:
        return count + push_overdue(limit)
    except QueueUnavailable as error:
        _logger.debug("push_overdue_failed error=%s", error)
        return count


def recover_expired_leases(
    limit: int = 500,
    judge_until: Callable[[str], datetime | None] = clock.now,
    databases: Iterable[str] | None = None,
) -> int:
    """Recover the tasks whose lease has expired and return their number, without Redis.

    ``judge_until`` is called with a database alias after the clock of that database was read. Only
    leases that ended until the time that it returns are recovered; none if it returns None.
    ``databases`` are all by default.
    """
    operation = partial(_recover_expired_in, limit=limit, judge_until=judge_until)
    return for_each_table(operation, databases)


def shorten_leases(using: str) -> int:
    """Let no lease in ``using`` end later than one that begins now; the number shortened.

    Leases that were granted before the database's clock was set back would outlast a dead worker
    by that time. A living one renews its lease all the same.
    """
    lease = longest_policy().lease
    end, too_late = clock.after(using, lease), clock.after(using, lease + _LEASE_TOLERANCE)
    return sum(
        rows_of(root, using)
        .running()
        .filter(check_at__gt=too_late)
        .update_managed_skip_locked(check_at=end)
        for root in tables_in(using)
    )


def push_overdue(limit: int = 500) -> int:
    """Push the due tasks that have no message in Redis, and return their number.

    Raises QueueUnavailable as soon as Redis does not answer or refuses a message: the other tables
    are left to the next pass. Does nothing without Redis: workers poll the tables.
    """
    if not get_queue().has_messages:
        return 0
    return for_each_table(partial(_push_overdue_in, limit=limit))


def detect_redis_reset(limit: int = 1000, rechecked: dict[str, float] | None = None) -> int:
    """Schedule a check of all waiting messages if Redis has lost its data; return their number.

    ``push_overdue`` then finds the tasks without a message. The marker by which lost data is
    detected is written last, so that a process that dies in between repeats everything. Raises
    QueueUnavailable if Redis does not answer, and DatabaseError if a database does not: call it
    again later. Then the databases in ``rechecked`` are left out for a minute.
    """
    queue, rechecked = get_queue(), {} if rechecked is None else rechecked
    if not queue.has_lost_data():
        return 0
    now, databases = time.monotonic(), task_databases()
    waiting = [u for u in databases if now - rechecked.get(u, -math.inf) >= _RECHECK_SECONDS]
    counts = in_each_database(partial(_distrust_messages_in, limit=limit), waiting)
    done = {using: count for using, count in counts.items() if count is not None}
    rechecked |= dict.fromkeys(done, now)
    if missing := set(waiting) - done.keys():
        raise DatabaseError(f"messages not checked in {', '.join(sorted(missing))}")
    is_first = queue.write_marker()
    rechecked.clear()
    count = sum(done.values())
    if not is_first:
        # Nodes that start together find this together; by now the first one may have run tasks.
        return count
    if count and any(map(_has_started_tasks, done)):
        _logger.warning("redis_data_lost rechecked=%s", count)
    else:
        _logger.info("redis_empty rechecked=%s", count)  # so it is when the first node starts
    return count


def stop_trusting_messages(using: str, limit: int = 1000) -> int:
    """Let the tasks of ``using`` that are due be overdue, of a project without Redis; their number.

    Those that were saved while the project had Redis are trusted to have messages.
    """
    return sum(lost_messages.distrust_messages(r, using, limit) for r in tables_in(using))


def recover_dead_workers(workers: Iterable[str], reason: str = WORKER_DIED) -> int:
    """Recover the tasks of ``workers``, which are known to be dead, before their leases expire.

    Returns the number of tasks and messages.
    """
    names = list(workers)
    return _recover_tasks_of(names, lambda tasks: recover_or_drop(tasks, reason)) if names else 0


def recover_dead_process(process: LostProcess) -> int:
    """As ``recover_dead_workers``, but only the task that ended ``process`` is charged."""
    known = without_recorded(process)
    return _recover_tasks_of([process.worker], lambda tasks: recover_lost_process(tasks, known))


def _recover_tasks_of(names: list[str], recover: Callable[[list[SimpleTask]], int]) -> int:
    count = for_each_table(partial(_recover_dead_workers_in, workers=names, recover=recover))
    try:
        # Messages that they claimed but did not start in the database: there is no event for them.
        get_queue().expire_leases(names)
        return count + requeue_expired_claims()
    except QueueUnavailable as error:
        # The messages return when their leases expire.
        _logger.debug("leases_not_expired workers=%s error=%s", len(names), error)
        return count


def recover_dead_local_workers(is_known_dead: Callable[[str], bool]) -> int:
    """Recover the tasks of dead processes of this machine, and return their number.

    So a node that restarts recovers what it ran before, without waiting for the leases to expire.
    """
    holders = in_each_database(_lease_holders_in, task_databases())
    names = set().union(*holders.values())
    return recover_dead_workers(filter(is_known_dead, names), NODE_RESTARTED)


def recover_overrun(task: SimpleTask, attempt: int) -> int:
    """Recover a task whose function exceeded its time limit and cannot be interrupted.

    Returns 1, or 0 if the task has changed since.
    """
    tasks = load_tasks(table_model(type(task)), write_database(task), [task.pk])
    ours = [claimed for claimed in tasks if claimed.attempt == attempt]
    return recover_or_drop(ours, TIME_LIMIT, has_ended_process=True)


def requeue_expired_claims(limit: int = 500) -> int:
    """Return the messages whose claims have expired to their queues in Redis; their number."""
    return get_queue().recover(limit=limit)["returned"]


def adopt_foreign_claims() -> int:
    """Lease the claims of stock SimQ clients, so that they expire, too; their number."""
    return get_queue().adopt()


def _distrust_messages_in(using: str, limit: int) -> int | None:
    """The number of messages of ``using`` to check again; None if it does not answer."""
    try:
        return stop_trusting_messages(using, limit)
    except Error as error:
        _logger.warning("recheck_failed database=%s error=%s", using, error)
        return None


def _has_started_tasks(using: str) -> bool:
    """Whether a worker has ever started a task of ``using``, and so has written the marker."""
    try:
        return any(rows_of(r, using).filter(attempt__gt=0).exists() for r in tables_in(using))
    except Error:
        return True


def _recover_expired_in(
    root: type[SimpleTask],
    using: str,
    limit: int,
    judge_until: Callable[[str], datetime | None],
) -> int:
    clock.calibrate(using)
    until = judge_until(using)
    if until is None:
        return 0
    return run_in_batches(
        rows_of(root, using).running().filter(check_at__lte=until),
        limit,
        lambda pks: recover_or_drop(load_readable(root, using, pks), LEASE_EXPIRED),
    )


def _push_overdue_in(root: type[SimpleTask], using: str, limit: int) -> int:
    clock.calibrate(using)
    return run_in_batches(
        overdue_rows(root, using).filter(not_expired(root, clock.now(using))),
        limit,
        lambda pks: lost_messages.push_missing(load_readable(root, using, pks), using),
        max_batches=max(1, MAX_TASKS // limit),
    )


def _lease_holders_in(using: str) -> set[str]:
    return {worker for root in tables_in(using) for worker in _lease_holders(root, using)}


def _lease_holders(root: type[SimpleTask], using: str) -> list[str]:
    rows = rows_of(root, using).running().filter(check_at__isnull=False)
    try:
        return list(rows.order_by().values_list("worker", flat=True).distinct())
    except Error as error:
        log_database_error(root, using, error)
        return []


def _recover_dead_workers_in(
    root: type[SimpleTask],
    using: str,
    workers: list[str],
    recover: Callable[[list[SimpleTask]], int],
) -> int:
    rows = rows_of(root, using).running().filter(worker__in=workers, check_at__isnull=False)
    total = 0
    for pause in _PAUSES:
        tasks = load_readable(root, using, list(rows.values_list("pk", flat=True)))
        count = recover(tasks)
        total += count
        if count == len(tasks):
            break
        # The last transaction of a dead worker may lock its rows until the database notices
        # (test_rows_that_the_dead_still_hold_are_recovered_when_they_are_free).
        time.sleep(pause)
    return total

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
from ..ledger.task_row import home_of, root_of
from ..models.loading import as_saved
from ..models.queryset import TaskQuerySet, rows_of
from ..models.registry import databases_of, roots
from ..models.task import SimpleTask
from ..queue import get_queue
from . import lost_messages
from .lost_messages import readable
from .lost_workers import given_back

_logger = logging.getLogger(__name__)

LEASE_EXPIRED = "lease_expired"
WORKER_DIED = "worker_died"
NODE_RESTARTED = "node_restarted"
TIME_LIMIT = "time_limit"

_MOST_SLICES = 100
#: Bells in doubt in one pass: half a second's work, so that a backlog of any size, which may come
#: into doubt at one instant, does not keep the workers of this process from the interpreter.
_MOST_BELLS = 2000
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.0)


def lost(limit: int = 500) -> int:
    """Look after every task for which somebody should have acted by now; the number moved or rung.

    In slices of ``limit`` rows; may run in any number of processes at once. One row or table that
    fails is logged and stops no other. Ended leases come first: they need the database only.
    """
    moved = expired(limit)
    try:
        return moved + silent(limit)
    except QueueUnavailable as error:
        _logger.warning("ringing_failed error=%s", error)
        return moved


def expired(limit: int = 500, may_judge: Callable[[str], bool] = lambda using: True) -> int:
    """Recover the tasks whose lease has ended; their number. Asks Redis for nothing.

    ``may_judge`` says of a database, after its clock was read, whether its leases may be judged.
    """
    return sum(
        _guarded(root, using, partial(_expired_in, limit=limit, may_judge=may_judge))
        for root, using in _tables()
    )


def silent(limit: int = 500) -> int:
    """Ring for the waiting tasks whose bell is due, or in doubt; the number rung.

    Raises QueueUnavailable as soon as Redis does not answer or takes no message: it is not asked
    again in this pass.
    """
    return sum(_guarded(root, using, partial(_silent_in, limit=limit)) for root, using in _tables())


def forgotten(limit: int = 1000) -> int:
    """Doubt the bells of all waiting tasks if Redis has lost its memory; how many were in trust.

    Then ``silent`` finds those whose message is gone. Death in between repeats it: the mark by
    which Redis is known is set in the end. Raises QueueUnavailable if Redis does not answer, and
    database errors, to be called again.
    """
    queue = get_queue()
    if not queue.has_lost_data():
        return 0
    doubted = sum(lost_messages.doubted(root, using, limit) for root, using in _tables())
    queue.write_marker()
    _logger.warning("redis_was_blank doubted=%s", doubted)
    return doubted


def abandoned(workers: Iterable[str], reason: str = WORKER_DIED, **evidence: Any) -> int:
    """Recover at once the tasks held by ``workers``, which are known to be dead; their number.

    ``evidence`` goes into the events.
    """
    names = list(workers)
    if not names:
        return 0
    moved = sum(
        _guarded(
            root, using, partial(_abandoned_in, workers=names, reason=reason, evidence=evidence)
        )
        for root, using in _tables()
    )
    try:
        # What they had claimed in Redis and not yet started in the database has no event to tell.
        get_queue().expire_leases(names)
        return moved + messages()
    except QueueUnavailable as error:
        # These claims come back when their leases have ended.
        _logger.warning("claims_not_abandoned workers=%s error=%s", len(names), error)
        return moved


def messages(limit: int = 500) -> int:
    """Return messages whose claims have ended to their queues in Redis; their number."""
    return get_queue().recover(limit=limit)["returned"]


def strangers() -> int:
    """Give the claims of stock SimQ clients a lease, so that ``messages`` finds them; how many."""
    return get_queue().adopt()


def _tables() -> Iterator[tuple[type[SimpleTask], str]]:
    for root in roots():
        for using in databases_of(root):
            yield root, using


def _guarded(
    root: type[SimpleTask], using: str, work: Callable[[type[SimpleTask], str], int]
) -> int:
    try:
        return work(root, using)
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


def _expired_in(
    root: type[SimpleTask], using: str, limit: int, may_judge: Callable[[str], bool]
) -> int:
    clock.calibrate(using)
    if not may_judge(using):
        return 0
    rows = rows_of(root, using).lost().running()
    return _sliced(
        rows,
        limit,
        lambda found: given_back(readable(root, using, found), LEASE_EXPIRED),
    )


def _silent_in(root: type[SimpleTask], using: str, limit: int) -> int:
    clock.calibrate(using)
    rows = rows_of(root, using).lost().pending()
    return _sliced(
        rows,
        limit,
        lambda found: lost_messages.rung(readable(root, using, found), using),
        most=max(1, _MOST_BELLS // limit),
    )


def _sliced(
    rows: TaskQuerySet[Any], limit: int, work: Callable[[list[Any]], int], most: int = _MOST_SLICES
) -> int:
    """``most`` slices of ``limit`` rows, those that wait longest first, while they are full."""
    done = 0
    for _ in range(most):
        found = list(rows.order_by("check_at").values_list("pk", flat=True)[:limit])
        done += work(found) if found else 0
        if len(found) < limit:
            break
    return done


def overran(task: SimpleTask, attempt: int) -> int:
    """Recover a task whose body ran too long and cannot be ended; 1, or 0 if it was moved first."""
    found = as_saved(root_of(type(task)), home_of(task), [task.pk])
    return given_back([one for one in found if one.attempt == attempt], TIME_LIMIT)


def deceased(is_known_dead: Callable[[str], bool]) -> int:
    """Recover what processes held that lived on this machine and are gone; the number.

    A node that is started again finds the tasks of its former life so, without their leases' end.
    """
    holders = {worker for root, using in _tables() for worker in _holders(root, using)}
    return abandoned(filter(is_known_dead, holders), NODE_RESTARTED)


def _holders(root: type[SimpleTask], using: str) -> Iterable[str]:
    rows = rows_of(root, using).running().filter(check_at__isnull=False)
    try:
        return list(rows.order_by().values_list("worker", flat=True).distinct())
    except Error as error:
        _logger.warning(
            "recovery_failed model=%s database=%s error=%s", root._meta.label, using, error
        )
        return []


def _abandoned_in(
    root: type[SimpleTask],
    using: str,
    workers: list[str],
    reason: str,
    evidence: Mapping[str, Any],
) -> int:
    rows = rows_of(root, using).running().filter(worker__in=workers, check_at__isnull=False)
    moved = 0
    for pause in _PAUSES:
        held = readable(root, using, list(rows.values_list("pk", flat=True)))
        given = given_back(held, reason, evidence)
        moved += given
        if given == len(held):
            break
        # The last transaction of the dead may hold its rows until the database notices
        # (test_rows_that_the_dead_still_hold_are_recovered_when_they_are_free).
        time.sleep(pause)
    return moved

"""Finding what was lost (workers, leases, bells that never rang) and putting it back to work."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django.db import Error

from . import clock, doorbells
from .backoff import exponential
from .catalog import as_saved, databases_of, roots
from .doorbells import readable, recorded
from .events import events_of, home_of, root_of
from .exceptions import QueueUnavailable
from .models import SimpleTask
from .moves import Move
from .policies import policy_of
from .querysets import rows_of
from .queue import get_queue
from .states import EventKind, Status

_logger = logging.getLogger(__name__)

LEASE_EXPIRED = "lease_expired"
WORKER_DIED = "worker_died"
NODE_RESTARTED = "node_restarted"
TIME_LIMIT = "time_limit"

#: Seconds that a task rests after its worker was lost for the second time; then ever longer.
_REST = 0.5
_MOST_SLICES = 100

#: After one of these the count of lost claims begins anew.
_FRESH_STARTS = (EventKind.ENQUEUE, EventKind.RESET, EventKind.RETRY)


def lost(limit: int = 500) -> int:
    """Look after every task for which somebody should have acted by now; the number moved or rung.

    In slices of ``limit`` rows; may run in any number of processes at once. One row or table that
    fails is logged and stops no other.
    """
    return sum(
        _guarded(root, using, lambda r=root, u=using: _lost_in(r, u, limit))
        for root in roots()
        for using in databases_of(root)
    )


def abandoned(workers: Iterable[str], reason: str = WORKER_DIED, **evidence: Any) -> int:
    """Recover at once the tasks held by ``workers``, which are known to be dead; their number.

    ``evidence`` goes into the events.
    """
    names = list(workers)
    if not names:
        return 0
    moved = sum(
        _guarded(root, using, lambda r=root, u=using: _abandoned_in(r, u, names, reason, evidence))
        for root in roots()
        for using in databases_of(root)
    )
    # What they had claimed in Redis and not yet started in the database has no event to tell.
    get_queue().abandon(names)
    return moved + messages()


def messages(limit: int = 500) -> int:
    """Return messages whose claims have ended to their queues in Redis; their number."""
    return get_queue().recover(limit=limit)["returned"]


def strangers() -> int:
    """Give the claims of stock SimQ clients a lease, so that ``messages`` finds them; how many."""
    return get_queue().adopt()


def _guarded(root: type[SimpleTask], using: str, work: Any) -> int:
    try:
        return int(work())
    except (Error, QueueUnavailable) as error:
        # What could not be done now is still due at the next pass.
        _logger.warning(
            "recovery_failed model=%s database=%s error=%s", root._meta.label, using, error
        )
    except Exception:
        _logger.exception("recovery_failed model=%s database=%s", root._meta.label, using)
    return 0


def _lost_in(root: type[SimpleTask], using: str, limit: int) -> int:
    """Slices of ``limit`` rows, as long as they are full."""
    clock.calibrate(using)
    moved = 0
    for _ in range(_MOST_SLICES):
        rows = rows_of(root, using).lost().order_by("lease_until")
        found = list(rows.values_list("pk", "status")[:limit])
        expired = readable(root, using, [pk for pk, s in found if s == Status.RUNNING])
        silent = readable(root, using, [pk for pk, s in found if s == Status.PENDING])
        moved += _given_back(expired, LEASE_EXPIRED) + doorbells.rung(silent, using)
        if len(found) < limit:
            break
    return moved


def overran(task: SimpleTask, attempt: int) -> int:
    """Recover a task whose body ran too long and cannot be ended; 1, or 0 if it was moved first."""
    found = as_saved(root_of(type(task)), home_of(task), [task.pk])
    return _given_back([one for one in found if one.attempt == attempt], TIME_LIMIT)


def deceased(is_known_dead: Callable[[str], bool]) -> int:
    """Recover what processes held that lived on this machine and are gone; the number.

    A node that is started again finds the tasks of its former life so, without their leases' end.
    """
    holders = {
        worker
        for root in roots()
        for using in databases_of(root)
        for worker in _holders(root, using)
    }
    return abandoned(filter(is_known_dead, holders), NODE_RESTARTED)


def _holders(root: type[SimpleTask], using: str) -> Iterable[str]:
    rows = rows_of(root, using).running().filter(lease_until__isnull=False)
    try:
        return list(rows.order_by().values_list("worker", flat=True).distinct())
    except Error as error:
        _logger.warning("recovery_failed model=%s database=%s error=%s", root, using, error)
        return []


def _abandoned_in(
    root: type[SimpleTask],
    using: str,
    workers: list[str],
    reason: str,
    evidence: Mapping[str, Any],
) -> int:
    rows = rows_of(root, using).running().filter(worker__in=workers, lease_until__isnull=False)
    held = readable(root, using, list(rows.values_list("pk", flat=True)))
    return _given_back(held, reason, evidence)


def _given_back(
    tasks: Sequence[SimpleTask], reason: str, further: Mapping[str, Any] = MappingProxyType({})
) -> int:
    running = [task for task in tasks if task.status == Status.RUNNING]
    if not running:
        return 0
    using = home_of(running[0])
    losses = _losses_of(root_of(type(running[0])), using, [task.pk for task in running])
    moves = [_giving_back(task, reason, losses[task.pk] + 1, further) for task in running]
    return recorded(moves)


def _giving_back(task: SimpleTask, reason: str, losses: int, further: Mapping[str, Any]) -> Move:
    using = home_of(task)
    ran = task.start_time and (clock.now(using) - task.start_time).total_seconds()
    evidence = {
        "lost_worker": task.worker,
        "ran_seconds": ran and round(ran, 3),
        "losses": losses,
        **further,
    }
    # A lease that was renewed meanwhile is not lost: the claim must be just as it was seen.
    seen = {name: getattr(task, name) for name in ("status", "attempt", "lease_until")}
    most = task.django_simpletask3_max_attempts
    if policy_of(task.get_event_channel()).action == "drop" or (most and losses >= most):
        message = f"The worker {task.worker} was lost ({reason}); claims lost so far: {losses}."
        error = {"type": "WorkerLost", "message": message, "traceback": ""}
        return Move(task, EventKind.DROP, reason=reason, data=evidence, error=error, expect=seen)
    values = {"run_after": _rest(losses, using)} if losses > 1 else {}
    return Move(task, EventKind.RECOVER, reason=reason, data=evidence, values=values, expect=seen)


def _rest(losses: int, using: str) -> datetime:
    # Whoever was lost together does not come back together: so a task that kills its worker ends
    # alone, and those that only were beside it are done before (test_a_poison_task...).
    return clock.after(using, exponential(losses - 1, base=_REST, cap=60.0, jitter=0.75))


def _losses_of(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> Counter[Any]:
    """How often in a row each task lost its worker, in one query."""
    stream = events_of(root, using).filter(
        task__in=pks, kind__in=[EventKind.RECOVER, *_FRESH_STARTS]
    )
    losses: Counter[Any] = Counter()
    for pk, kind, came_from in stream.values_list("task_id", "kind", "from_status"):
        if kind in _FRESH_STARTS:
            losses[pk] = 0
        elif came_from == Status.RUNNING:
            losses[pk] += 1
    return losses

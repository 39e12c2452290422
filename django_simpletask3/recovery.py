"""Finding what was lost (workers, leases, bells that never rang) and putting it back to work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from django.db import Error

from . import announcements, clock
from .backoff import exponential
from .catalog import as_saved, databases_of, roots
from .conf import options
from .events import home_of, root_of, since_fresh_start
from .exceptions import QueueUnavailable
from .models import SimpleTask
from .moves import Move
from .policies import policy_of
from .querysets import rows_of
from .queue import get_queue
from .states import EventKind, Status
from .transitions import record_each

_logger = logging.getLogger(__name__)

LEASE_EXPIRED = "lease_expired"
WORKER_DIED = "worker_died"
MESSAGE_LOST = "message_lost"
NODE_RESTARTED = "node_restarted"
TIME_LIMIT = "time_limit"

#: Seconds that a task rests after its worker was lost for the second time; then ever longer.
_REST = 0.5

#: After one of these the count of lost claims begins anew.
_FRESH_STARTS = (EventKind.ENQUEUE, EventKind.RESET, EventKind.RETRY)


def lost(limit: int = 500) -> int:
    """Look after every task for which somebody should have acted by now; the number moved or rung.

    At most ``limit`` rows per table; may run in any number of processes at once. One table that
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
    clock.calibrate(using)
    rows = rows_of(root, using).lost().order_by("lease_until")
    found = list(rows.values_list("pk", "status")[:limit])
    expired = [pk for pk, status in found if status == Status.RUNNING]
    silent = [pk for pk, status in found if status == Status.PENDING]
    moved = _given_back(as_saved(root, using, expired), LEASE_EXPIRED) if expired else 0
    return moved + (_rung(as_saved(root, using, silent), using) if silent else 0)


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
    return _given_back(as_saved(root, using, rows.values_list("pk", flat=True)), reason, evidence)


def _given_back(
    tasks: Sequence[SimpleTask], reason: str, further: Mapping[str, Any] = MappingProxyType({})
) -> int:
    moves = [_giving_back(task, reason, further) for task in tasks if task.status == Status.RUNNING]
    return _recorded(moves)


def _giving_back(task: SimpleTask, reason: str, further: Mapping[str, Any]) -> Move:
    using = task._state.db or "default"
    now = clock.now(using)
    losses = _losses(task) + 1
    policy = policy_of(task.get_event_channel())
    evidence = {
        "lost_worker": task.worker,
        "ran_seconds": task.start_time and round((now - task.start_time).total_seconds(), 3),
        "losses": losses,
        **further,
    }
    # A lease that was renewed meanwhile is not lost: the claim must be just as it was seen.
    seen = {name: getattr(task, name) for name in ("status", "attempt", "lease_until")}
    if policy.action == "drop" or losses >= task.django_simpletask3_max_attempts:
        message = f"The worker {task.worker} was lost ({reason}); claims lost so far: {losses}."
        error = {"type": "WorkerLost", "message": message, "traceback": ""}
        return Move(task, EventKind.DROP, reason=reason, data=evidence, error=error, expect=seen)
    values = {"run_after": _rest(losses, using)} if losses > 1 else {}
    return Move(task, EventKind.RECOVER, reason=reason, data=evidence, values=values, expect=seen)


def _rest(losses: int, using: str) -> datetime:
    # Whoever was lost together does not come back together: so a task that kills its worker ends
    # alone, and those that only were beside it are done before (test_a_poison_task...).
    return clock.after(using, exponential(losses - 1, base=_REST, cap=60.0, jitter=0.75))


def _losses(task: SimpleTask) -> int:
    recoveries = since_fresh_start(task, [EventKind.RECOVER], _FRESH_STARTS)
    return recoveries.filter(from_status=Status.RUNNING).count()


def _rung(tasks: Sequence[SimpleTask], using: str) -> int:
    """Ring for waiting tasks that have no message; note that the others were looked at."""
    due = [task for task in tasks if task.status == Status.PENDING]
    missing = _without_message(due)
    if not announcements.ring(missing):
        return 0
    fresh = [task for task in missing if _was_never_due_before(task)]
    forgotten = [task for task in missing if task not in fresh]
    _look_again_later([task for task in due if task not in forgotten], using)
    moves = [
        Move(task, EventKind.RECOVER, reason=MESSAGE_LOST, expect={"status": Status.PENDING})
        for task in forgotten
    ]
    return len(fresh) + _recorded(moves)


def _without_message(tasks: Sequence[SimpleTask]) -> list[SimpleTask]:
    by_channel: dict[str, dict[str, SimpleTask]] = {}
    for task in tasks:
        by_channel.setdefault(task.get_event_channel(), {})[task.get_task_id()] = task
    queue = get_queue()
    return [
        by_id[key]
        for channel, by_id in by_channel.items()
        for key in queue.missing(channel, list(by_id))
    ]


def _was_never_due_before(task: SimpleTask) -> bool:
    return task.run_after is not None and task.lease_until == task.run_after


def _look_again_later(tasks: Sequence[SimpleTask], using: str) -> None:
    """Trust the bells of ``tasks`` again, the longer the longer they have been waiting already."""
    if not tasks:
        return
    now = clock.now(using)
    waited = min((now - task.add_time).total_seconds() for task in tasks)
    patience = timedelta(seconds=max(options.simq_timeout_task_recovery_interval, waited))
    rows = rows_of(type(tasks[0]), using).pending().filter(pk__in=[task.pk for task in tasks])
    rows.filter(lease_until__lte=now).bookkeep(lease_until=now + patience)


def _recorded(moves: Sequence[Move]) -> int:
    """Make the moves; the number made."""
    record_each(moves)
    for move in moves:
        if move.failure is not None:
            label = move.task._meta.label
            _logger.error(
                "recovery_failed model=%s pk=%s", label, move.task.pk, exc_info=move.failure
            )
    return sum(move.event is not None for move in moves)

"""Recover or drop the tasks of a lost worker: back to the queue, or given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType

from ..conf.backoff import exponential_delay
from ..conf.leases import policy_of
from ..db import clock
from ..ledger.event import events_of
from ..ledger.task_row import table_model, write_database
from ..models.task import SimpleTask
from ..states import EventKind, Status, kinds_where
from ..transitions.transition import Transition
from .lost_messages import apply_and_count

#: Seconds until a task whose worker was lost for the second time is due; then ever longer.
_BASE_DELAY = 0.5
#: Each of these resets the count of lost claims.
_RESET_KINDS = kinds_where(lambda spec: spec.resets_attempts)


def recover_or_drop(
    tasks: Sequence[SimpleTask],
    reason: str,
    extra_data: Mapping[str, object] = MappingProxyType({}),
) -> int:
    """Recover or drop those of ``tasks`` whose claim has not changed since; their number.

    The events name the lost worker, how long it ran and how many claims in a row were lost;
    ``extra_data`` is added to that.
    """
    running = [task for task in tasks if task.status == Status.RUNNING]
    if not running:
        return 0
    using = write_database(running[0])
    losses = _losses_of(table_model(type(running[0])), using, [task.pk for task in running])
    transitions = [_recovery_transition(t, reason, losses[t.pk] + 1, extra_data) for t in running]
    return apply_and_count(transitions)


def _recovery_transition(
    task: SimpleTask, reason: str, losses: int, extra_data: Mapping[str, object]
) -> Transition:
    evidence = {**_evidence(task), "losses": losses, **extra_data}
    # A lease that was renewed meanwhile is not lost: the claim must be as it was read.
    expected = {name: getattr(task, name) for name in ("status", "attempt", "check_at")}
    transition = partial(Transition, task, reason=reason, data=evidence, expected=expected)
    if _is_given_up(task, losses):
        message = f"The worker {task.worker} was lost ({reason}); claims lost so far: {losses}."
        error = {"type": "WorkerLost", "message": message, "traceback": ""}
        return transition(kind=EventKind.DROP, error_data=error)
    values = {"run_after": _next_run_time(losses, write_database(task))} if losses > 1 else {}
    return transition(kind=EventKind.RECOVER, values=values)


def _evidence(task: SimpleTask) -> dict[str, object]:
    run_seconds = None
    if task.start_time is not None:
        run_time = clock.now(write_database(task)) - task.start_time
        run_seconds = round(run_time.total_seconds(), 3)
    return {"lost_worker": task.worker, "ran_seconds": run_seconds}


def _is_given_up(task: SimpleTask, losses: int) -> bool:
    max_attempts = task.django_simpletask3_max_attempts
    is_too_often = bool(max_attempts) and losses >= max_attempts
    return is_too_often or policy_of(task.get_event_channel()).action == "drop"


def _next_run_time(losses: int, using: str) -> datetime:
    # Tasks that were lost together are not due together: a task that kills its worker then runs
    # alone, after the tasks that only ran beside it (test_a_poison_task...).
    return clock.after(
        using, exponential_delay(losses - 1, base=_BASE_DELAY, cap=60.0, jitter=0.75)
    )


def _losses_of(root: type[SimpleTask], using: str, pks: Sequence[object]) -> Counter[object]:
    """Count, in one query, how often in a row each task lost its worker."""
    stream = events_of(root, using).filter(
        task__in=pks, kind__in=[EventKind.RECOVER, *_RESET_KINDS]
    )
    losses: Counter[object] = Counter()
    for pk, kind, from_status in stream.values_list("task_id", "kind", "from_status"):
        if kind in _RESET_KINDS:
            losses[pk] = 0
        elif from_status == Status.RUNNING:
            losses[pk] += 1
    return losses

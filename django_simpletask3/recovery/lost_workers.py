"""Recover, release or drop the tasks of a lost worker: back to the queue, or given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from types import MappingProxyType

from django.db import Error

from ..conf.leases import policy_of
from ..db import clock
from ..dispatch.push import push_messages
from ..dispatch.task_message import MessageBuilder
from ..ledger.task_row import short_key, table_model, task_reference, write_database
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.losses import Losses, losses_of
from ..models.queryset import rows_of
from ..models.registry import tables_in, task_databases
from ..models.task import SimpleTask
from ..retries import Exponential
from ..states import EventKind, Status
from ..transitions.transition import Transition
from .lost_messages import apply_and_count

#: As of the outcomes of task functions: a task that is given up has failed, too.
_logger = get_logger("django_simpletask3.tasks")

#: Seconds until a task whose worker was lost for the second time is due; then ever longer.
_BACKOFF = Exponential(first=0.5, maximum=60.0, jitter=0.75)


@dataclass(frozen=True, slots=True)
class LostProcess:
    """A worker process that ended before its tasks, and why.

    ``suspects`` are the short keys of the tasks of which one may be the cause.
    """

    worker: str
    exit_code: int
    reason: str
    suspects: tuple[str, ...] = ()

    def may_be_ended_by(self, task: SimpleTask) -> bool:
        """Whether ``task`` is a suspect."""
        return short_key(type(task), write_database(task), task.pk) in self.suspects


def recover_or_drop(
    tasks: Sequence[SimpleTask],
    reason: str,
    extra_data: Mapping[str, object] = MappingProxyType({}),
    *,
    has_ended_process: bool = False,
) -> int:
    """Recover or drop those of ``tasks`` whose claim has not changed since; their number.

    The events name the lost worker, how long it ran and how many claims in a row were lost;
    ``extra_data`` is added to that. With ``has_ended_process`` each task has cost its process.
    """

    def transition(task: SimpleTask, losses: Losses) -> Transition:
        data = {**extra_data}
        if has_ended_process:
            data["process_losses"] = losses.processes + 1
        return _recovery_transition(task, reason, losses.claims + 1, data)

    return _apply(_transitions(tasks, transition))


def recover_lost_process(tasks: Sequence[SimpleTask], process: LostProcess) -> int:
    """Charge the loss of ``process`` to the task that has caused it; the number of its tasks.

    If only one task is suspected, it is recovered or dropped, and the others are released: that
    costs them nothing. If several are, all are released: those that are suspected twice run alone.
    """
    suspects = [task for task in tasks if process.may_be_ended_by(task)]
    others = [task for task in tasks if task not in suspects]
    if len(process.suspects) > 1:
        suspects, unproven = [], suspects
    else:
        unproven = []
    evidence = {"exit_code": process.exit_code}
    return (
        recover_or_drop(suspects, process.reason, evidence, has_ended_process=True)
        + _release_or_drop(others, process.reason, evidence)
        + _release_or_drop(unproven, process.reason, evidence, suspects=len(process.suspects))
    )


def without_recorded(process: LostProcess) -> LostProcess:
    """``process`` without the suspects whose outcome was recorded before it ended.

    All stay suspects if a database does not answer.
    """
    if len(process.suspects) < 2:
        return process
    databases = task_databases()
    found = in_each_database(partial(_running_keys_in, worker=process.worker), databases)
    running = [keys for using in databases if (keys := found.get(using)) is not None]
    if len(running) < len(databases):
        return process
    suspects = [key for key in process.suspects if any(key in keys for keys in running)]
    return replace(process, suspects=tuple(suspects))


def _running_keys_in(using: str, worker: str) -> set[str] | None:
    """The short keys of the tasks in ``using`` that ``worker`` runs; None if it does not answer."""
    keys: set[str] = set()
    try:
        for root in tables_in(using):
            rows = rows_of(root, using).running().filter(worker=worker)
            keys.update(short_key(root, using, pk) for pk in rows.values_list("pk", flat=True))
    except Error:
        return None
    return keys


def _release_or_drop(
    tasks: Sequence[SimpleTask], reason: str, evidence: Mapping[str, object], suspects: int = 0
) -> int:
    """Release ``tasks``, of which one of ``suspects`` has cost the process; drop by policy."""

    def transition(task: SimpleTask, losses: Losses) -> Transition:
        if policy_of(task.get_event_channel()).action == "drop":
            return _recovery_transition(task, reason, losses.claims + 1, evidence)
        data = {**_evidence(task), **evidence}
        if suspects:
            data["suspects"], data["process_losses"] = suspects, losses.processes + 1
        expected = _claim_of(task)
        return Transition(task, EventKind.RELEASE, reason=reason, data=data, expected=expected)

    transitions = _transitions(tasks, transition)
    count = _apply(transitions)
    released = [t.task for t in transitions if t.kind is EventKind.RELEASE and t.event is not None]
    # Their messages are claimed by the lost worker, or there are none.
    build = MessageBuilder().build
    push_messages([build(task, takes_over=True, urgent=True) for task in released])
    return count


def _apply(transitions: Sequence[Transition]) -> int:
    """Apply ``transitions`` and count those recorded; log the tasks that were given up."""
    count = apply_and_count(transitions)
    for transition in transitions:
        if transition.kind is EventKind.DROP and transition.event is not None:
            task, error = transition.task, transition.error_data or {}
            worker = transition.data.get("lost_worker", "")
            _logger.error(
                "task_drop model=%s pk=%s attempt=%s error=%s",
                task._meta.label,
                task.pk,
                task.attempt,
                error.get("message", ""),
                extra={"task": task_reference(task), "attempt": task.attempt, "worker": worker},
            )
    return count


def _transitions(
    tasks: Sequence[SimpleTask], transition: Callable[[SimpleTask, Losses], Transition]
) -> list[Transition]:
    running = [task for task in tasks if task.status == Status.RUNNING]
    if not running:
        return []
    using, root = write_database(running[0]), table_model(type(running[0]))
    losses = losses_of(root, using, [task.pk for task in running])
    return [transition(task, losses[task.pk]) for task in running]


def _recovery_transition(
    task: SimpleTask, reason: str, losses: int, extra_data: Mapping[str, object]
) -> Transition:
    evidence = {**_evidence(task), "losses": losses, **extra_data}
    expected = _claim_of(task)
    transition = partial(Transition, task, reason=reason, data=evidence, expected=expected)
    if _is_given_up(task, losses):
        message = f"The worker {task.worker} was lost ({reason}); claims lost so far: {losses}."
        error = {"type": "WorkerLost", "message": message, "traceback": ""}
        return transition(kind=EventKind.DROP, error_data=error)
    values = {"run_after": _next_run_time(losses, write_database(task))} if losses > 1 else {}
    return transition(kind=EventKind.RECOVER, values=values)


def _claim_of(task: SimpleTask) -> dict[str, object]:
    # A lease that was renewed meanwhile is not lost: the claim must be as it was read.
    return {name: getattr(task, name) for name in ("status", "attempt", "check_at")}


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
    # Tasks that were lost together are not due together.
    return clock.after(using, _BACKOFF(losses - 1))

"""Waiting tasks whose message never came, or is gone: ringing for them again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Q

from ..conf.options import options
from ..context import acting_as
from ..db import clock
from ..db.errors import is_transient, may_be_transient
from ..dispatch import push
from ..exceptions import QueueUnavailable
from ..ledger.task_row import TaskRow
from ..models.loading import as_saved
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..queue import get_queue
from ..states import EventKind, Status
from ..transitions.best_effort import apply_each
from ..transitions.transition import Transition

_logger = logging.getLogger(__name__)

MESSAGE_LOST = "message_lost"

_LONGEST_PATIENCE = 60.0 * 60
#: Seconds: whoever has saved a task a moment ago is just ringing.
_BEING_RUNG = timedelta(seconds=1)


def rung(tasks: Sequence[SimpleTask], using: str) -> int:
    """Ring for waiting tasks that have no message; note that the others were looked at.

    Returns how many were rung. Of a message that was lost the stream says so; a task that has just
    become due is no news. Raises QueueUnavailable if Redis cannot be asked.
    """
    due = [task for task in tasks if task.status == Status.PENDING]
    fresh = [task for task in due if _is_due_at_last(task)]
    lost = _without_message([task for task in due if task not in fresh])
    if not push.push([*fresh, *lost]):
        raise QueueUnavailable("Redis could not be told of waiting tasks.")
    _look_again_later([task for task in due if task not in lost], using)
    return len(fresh) + recorded([_loss(task) for task in lost])


def _is_due_at_last(task: SimpleTask) -> bool:
    return task.run_after is not None and task.check_at == task.run_after


def _loss(task: SimpleTask) -> Transition:
    # As it was seen: another node may have replaced the message and told of it. One that only found
    # the new message there, and trusts it, has told nothing.
    seen = {name: getattr(task, name) for name in ("status", "sequence")}
    return Transition(task, EventKind.RECOVER, reason=MESSAGE_LOST, expected=seen)


def _without_message(tasks: Iterable[SimpleTask]) -> list[SimpleTask]:
    by_channel: dict[str, dict[str, SimpleTask]] = {}
    for task in tasks:
        by_channel.setdefault(task.get_event_channel(), {})[task.get_task_id()] = task
    queue = get_queue()
    return [
        by_id[key]
        for channel, by_id in by_channel.items()
        for key in queue.missing(channel, list(by_id))
    ]


def _look_again_later(tasks: Sequence[SimpleTask], using: str) -> None:
    """Trust the bells of ``tasks`` again, the longer the longer they have been waiting already."""
    if not tasks:
        return
    now = clock.now(using)
    # Not the age: an old task that was reset a moment ago would lie for an hour without its message
    # (test_how_long_a_message_is_trusted_does_not_depend_on_the_age_of_the_task).
    waited = min(
        (now - max(task.mod_time, task.run_after or task.mod_time)).total_seconds()
        for task in tasks
    )
    patience = max(options.simq_timeout_task_recovery_interval, min(waited, _LONGEST_PATIENCE))
    rows = rows_of(type(tasks[0]), using).pending().filter(pk__in=[task.pk for task in tasks])
    rows.filter(check_at__lte=now).bookkeep_free(check_at=now + timedelta(seconds=patience))


def doubted(root: type[SimpleTask], using: str, limit: int) -> int:
    """Trust no bell of a due task any more, in slices of ``limit`` rows; how many were in trust.

    That of a task that was moved within the last second is trusted for one more.
    """
    clock.calibrate(using)
    now, doubted = clock.now(using), 0
    trusted = rows_of(root, using).due().filter(check_at__gt=now).order_by("check_at", "pk")
    further = Q()
    while True:
        found = list(trusted.filter(further).values_list("pk", "check_at")[:limit])
        rows = rows_of(root, using).due().filter(pk__in=[pk for pk, _ in found])
        old, soon = rows.filter(mod_time__lte=now - _BEING_RUNG), now + _BEING_RUNG
        doubted += old.filter(check_at__gt=now).bookkeep_free(check_at=now)
        doubted += rows.filter(check_at__gt=soon).bookkeep_free(check_at=soon)
        if len(found) < limit:
            return doubted
        # By key, too: many rows may have been queued at one instant. What somebody holds, or has
        # doubted meanwhile, is passed by (test_two_nodes_doubt_all_bells_between_them).
        pk, last = found[-1]
        further = Q(check_at__gt=last) | Q(check_at=last, pk__gt=pk)


def recorded(moves: Sequence[Transition]) -> int:
    """Make the moves, those that fail together one by one; the number made."""
    with acting_as("recovery"):
        apply_each(moves)
    for move in moves:
        if move.error is not None and not is_transient(move.error):
            label = move.task._meta.label
            _logger.error(
                "recovery_failed model=%s pk=%s", label, move.task.pk, exc_info=move.error
            )
            _postpone(type(move.task), move.task._state.db or "default", move.task.pk)
    return sum(move.event is not None for move in moves)


def readable(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> list[SimpleTask]:
    """The tasks as they were saved; a row that cannot be read is logged and looked at later."""
    if not pks:
        return []
    try:
        return as_saved(root, using, pks)
    except Exception as error:
        if may_be_transient(error):
            raise
        if len(pks) > 1:
            return [task for pk in pks for task in readable(root, using, [pk])]
        _logger.exception("row_unreadable model=%s pk=%s", root._meta.label, pks[0])
        _postpone(root, using, pks[0])
        return []


def _postpone(model: type[TaskRow], using: str, pk: Any) -> None:
    later = clock.after(using, options.simq_timeout_task_recovery_interval)
    rows_of(model, using).filter(pk=pk).bookkeep_free(check_at=later)

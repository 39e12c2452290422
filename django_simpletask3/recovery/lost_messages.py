"""Push waiting tasks again whose message was never pushed, or was lost by Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce, Greatest, Least

from ..conf.options import options
from ..context import acting_as
from ..db import clock
from ..db.errors import is_transient, may_be_transient
from ..db.loading import load_tasks
from ..dispatch import push
from ..exceptions import QueueUnavailable
from ..ledger.task_row import TaskRow, write_database
from ..logs import get_logger
from ..models.queryset import due_rows, rows_after, rows_of
from ..models.task import SimpleTask
from ..queue import get_queue
from ..states import EventKind, Status
from ..transitions.best_effort import apply_each
from ..transitions.expiry import limit_check_at
from ..transitions.transition import MAX_RECHECK_SECONDS, Transition

_logger = get_logger(__name__)

MESSAGE_LOST = "message_lost"

#: The process that has just saved a task may be about to push it.
_PUSH_GRACE = timedelta(seconds=1)
#: Tasks that have been due for longer are pushed again in any order.
_OLDEST = timedelta(days=10 * 365)


def push_missing(tasks: Sequence[SimpleTask], using: str) -> int:
    """Push the waiting tasks that have no message, postpone the check of the others.

    Returns the number pushed. A lost message is recorded as a recover event; the first message of a
    task that has become due is not. Raises QueueUnavailable if Redis does not answer.
    """
    pending = [task for task in tasks if task.status == Status.PENDING]
    newly_due = [task for task in pending if _is_newly_due(task)]
    missing = _without_message([task for task in pending if task not in newly_due])
    if not push.push([*newly_due, *missing]):
        raise QueueUnavailable("Redis did not take the messages of waiting tasks.")
    _postpone_check([task for task in pending if task not in missing], using)
    return len(newly_due) + record_lost_messages(missing)


def record_lost_messages(tasks: Iterable[SimpleTask]) -> int:
    """Record that the messages of ``tasks``, of one table, were lost and pushed again; how many."""
    return apply_and_count([_message_lost_transition(task) for task in tasks])


def _is_newly_due(task: SimpleTask) -> bool:
    return task.run_after is not None and task.check_at == task.run_after


def _message_lost_transition(task: SimpleTask) -> Transition:
    # Expect the row as it was read: another node may have pushed the message and recorded that.
    # A node that only found the new message, and postponed the check, has recorded nothing.
    expected = {name: getattr(task, name) for name in ("status", "sequence")}
    return Transition(task, EventKind.RECOVER, reason=MESSAGE_LOST, expected=expected)


def _without_message(tasks: Iterable[SimpleTask]) -> list[SimpleTask]:
    by_channel: dict[str, dict[str, SimpleTask]] = {}
    for task in tasks:
        by_channel.setdefault(task.get_event_channel(), {})[task.get_task_id()] = task
    queue = get_queue()
    return [by_id[key] for c, by_id in by_channel.items() for key in queue.missing(c, list(by_id))]


def _postpone_check(tasks: Sequence[SimpleTask], using: str) -> None:
    """Check the messages of ``tasks`` again later; the longer they have waited, the later."""
    if not tasks:
        return
    now = clock.now(using)
    # Not by age: an old task that was reset a moment ago could lack its message for an hour
    # (test_how_long_a_message_is_trusted_does_not_depend_on_the_age_of_the_task).
    waiting_seconds = min(
        (now - max(task.mod_time, task.run_after or task.mod_time)).total_seconds()
        for task in tasks
    )
    interval = max(
        options.simq_timeout_task_recovery_interval, min(waiting_seconds, MAX_RECHECK_SECONDS)
    )
    rows = rows_of(type(tasks[0]), using).pending().filter(pk__in=[task.pk for task in tasks])
    rows.filter(check_at__lte=now).update_managed_skip_locked(
        check_at=limit_check_at(type(tasks[0]), now + timedelta(seconds=interval))
    )


def distrust_messages(table: type[SimpleTask], using: str, batch_size: int) -> int:
    """Make ``push_missing`` check the message of every due task now; the number of such tasks.

    Used when Redis has lost its data. They are pushed again in the order in which they were due;
    tasks that changed within the last second are checked in one second. Works in batches of
    ``batch_size`` rows.
    """
    clock.calibrate(using)
    now, count = clock.now(using), 0
    trusted_rows = due_rows(table, using).filter(check_at__gt=now)
    after_page = Q()
    while True:
        page = list(trusted_rows.filter(after_page).values_list("pk", "check_at")[:batch_size])
        rows = rows_of(table, using).due().filter(pk__in=[pk for pk, _ in page])
        old, soon = rows.filter(mod_time__lte=now - _PUSH_GRACE), now + _PUSH_GRACE
        check_at = _check_time_by_age(now)
        count += old.filter(check_at__gt=now).update_managed_skip_locked(check_at=check_at)
        count += rows.filter(check_at__gt=soon).update_managed_skip_locked(check_at=soon)
        if len(page) < batch_size:
            return count
        # By key, too: many rows may have been enqueued at one instant. Rows that another process
        # has locked or updated are skipped (test_two_nodes_recheck_all_messages_between_them).
        pk, last_check = page[-1]
        after_page = rows_after(last_check, pk)


def _check_time_by_age(now: datetime) -> Any:
    """A ``check_at`` that has passed, in the order of due times; it is never ``run_after``."""
    times: Any = {"output_field": models.DateTimeField()}
    due_time = Coalesce("run_after", "add_time", **times)
    # Some databases know times that Python does not.
    oldest, newest = models.Value(now - _OLDEST), models.Value(now)
    return Least(Greatest(due_time, oldest, **times), newest, **times) - timedelta(seconds=1)


def apply_and_count(transitions: Sequence[Transition]) -> int:
    """Apply the transitions, one by one if they fail together; the number applied."""
    with acting_as("recovery"):
        apply_each(transitions)
    for transition in transitions:
        error, task = transition.error, transition.task
        if error is not None and not is_transient(error):
            label = task._meta.label
            _logger.error("recovery_failed model=%s pk=%s", label, task.pk, exc_info=error)
            _postpone_failed_row(type(task), write_database(task), task.pk)
    return sum(transition.event is not None for transition in transitions)


def load_readable(root: type[SimpleTask], using: str, pks: Sequence[object]) -> list[SimpleTask]:
    """Load the tasks; a row that cannot be loaded is logged, and its check is postponed."""
    if not pks:
        return []
    try:
        return load_tasks(root, using, pks)
    except Exception as error:
        if may_be_transient(error):
            raise
        if len(pks) > 1:
            return [task for pk in pks for task in load_readable(root, using, [pk])]
        _logger.exception("row_unreadable model=%s pk=%s", root._meta.label, pks[0])
        _postpone_failed_row(root, using, pks[0])
        return []


def _postpone_failed_row(model: type[TaskRow], using: str, pk: object) -> None:
    later = clock.after(using, options.simq_timeout_task_recovery_interval)
    rows_of(model, using).filter(pk=pk).update_managed_skip_locked(check_at=later)

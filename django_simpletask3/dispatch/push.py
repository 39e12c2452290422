"""Push the messages of due tasks to Redis after the commit, and cancel those of finished tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError

from ..db import clock
from ..exceptions import InvalidSetting, QueueUnavailable
from ..ledger.task_row import all_rows, table_model, write_database
from ..logs import get_logger
from ..queue import Queue, get_queue, outage
from ..states import Status

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = get_logger(__name__)

#: Seconds without commands to Redis after it failed: one outage must not slow down every save.
_PAUSE_SECONDS = 2.0
_pause: tuple[Queue | None, float] = (None, 0.0)


class TaskMessage(NamedTuple):
    """The message of one task, built when the push was requested."""

    channel: str
    id: str
    data: dict[str, Any]
    is_urgent: bool
    takes_over: bool
    run_after: Any
    using: str
    root: type[TaskRow]
    pk: Any

    @classmethod
    def of(cls, task: TaskRow, *, takes_over: bool = False, urgent: bool = False) -> TaskMessage:
        """Build the message of ``task``; one with a priority, or ``urgent``, goes to the head."""
        return cls(
            channel=task.get_event_channel(),
            id=task.get_task_id(),
            data=task.get_task_data(),
            is_urgent=urgent or task.priority > 0,
            takes_over=takes_over,
            run_after=task.run_after,
            using=write_database(task),
            root=table_model(type(task)),
            pk=task.pk,
        )


def push(tasks: Iterable[TaskRow], *, urgent: bool = False) -> bool:
    """Push a message for each PENDING task that is due; False if Redis does not answer.

    ``urgent`` messages, and those of tasks with a priority, go to the head of the queue. Never
    raises. A task whose message is not pushed is marked in the database for recovery.
    """
    pending = [task for task in tasks if task.status == Status.PENDING]
    return push_messages([TaskMessage.of(task, urgent=urgent) for task in pending])


def push_messages(messages: Iterable[TaskMessage]) -> bool:
    """Push messages that were built before, as ``push`` does."""
    due = [message for message in messages if clock.is_past(message.run_after, message.using)]
    try:
        _push_by_channel(due)
    except QueueUnavailable as error:
        _logger.debug("push_failed tasks=%s error=%s", len(due), error)
        _schedule_recheck(due)
        return False
    return True


def _push_by_channel(messages: Iterable[TaskMessage]) -> None:
    for (channel, urgent, take_over), group in groupby(
        sorted(messages, key=_push_group), key=_push_group
    ):
        entries = [(message.id, message.data) for message in group]
        with _available_queue() as queue:
            queue.push(channel, entries, urgent=urgent, take_over=take_over)


def _push_group(message: TaskMessage) -> tuple[str, bool, bool]:
    return message.channel, message.is_urgent, message.takes_over


@contextmanager
def _available_queue() -> Iterator[Queue]:
    """The queue; raises QueueUnavailable without a command if it failed a moment ago."""
    global _pause
    try:
        queue = get_queue()
    except InvalidSetting as error:
        outage.record(error)
        raise QueueUnavailable(str(error)) from error
    paused_queue, until = _pause
    if paused_queue is queue and time.monotonic() < until:
        outage.count()
        raise QueueUnavailable("Redis failed a moment ago; no command is sent yet.")
    try:
        yield queue
    except QueueUnavailable:
        _pause = (queue, time.monotonic() + _PAUSE_SECONDS)
        raise


def _schedule_recheck(messages: Iterable[TaskMessage]) -> None:
    by_table: dict[tuple[str, type[TaskRow]], list[Any]] = {}
    for message in messages:
        by_table.setdefault((message.using, message.root), []).append(message.pk)
    for (using, root), pks in by_table.items():
        rows = all_rows(root, using).filter(pk__in=pks, status=Status.PENDING)
        try:
            # By a clock that is ahead, recovery would find the task that much later.
            clock.refresh(using)
            rows.update(check_at=clock.now(using))
        except DatabaseError as error:
            # The row keeps the deadline of its insert; recovery examines it a little later.
            _logger.warning("recheck_not_scheduled model=%s error=%s", root._meta.label, error)


def cancel_messages(channels: Mapping[str, str]) -> None:
    """Remove the messages (id: channel) of tasks that must not run from Redis; never raises.

    A message that remains costs one pop: the worker finds that its row is not PENDING.
    """
    ordered = sorted(channels, key=channels.__getitem__)
    for channel, keys in groupby(ordered, key=channels.__getitem__):
        try:
            with _available_queue() as queue:
                queue.cancel_many(channel, list(keys))
        except QueueUnavailable as error:
            _logger.debug("cancel_messages_failed channel=%s error=%s", channel, error)

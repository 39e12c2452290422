"""Push the messages of due tasks to Redis after the commit, and cancel those of finished tasks."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError

from ..conf.priorities import nearest_priority
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
#: Hints are pushed of tasks that are due within so many seconds.
_HINT_SECONDS = 10.0
#: A worker reads a hint within so many seconds.
_SOON_SECONDS = 0.3
_pause: tuple[Queue | None, float] = (None, 0.0)


class TaskMessage(NamedTuple):
    """The message of one task, built when the push was requested."""

    channel: str
    id: str
    data: dict[str, Any]
    priority: int
    is_urgent: bool
    takes_over: bool
    run_after: Any
    using: str
    root: type[TaskRow]
    pk: Any

    @classmethod
    def of(cls, task: TaskRow, *, takes_over: bool = False, urgent: bool = False) -> TaskMessage:
        """Build the message of ``task``; an ``urgent`` one is the first of its priority."""
        return cls(
            channel=task.get_event_channel(),
            id=task.get_task_id(),
            data=task.get_task_data(),
            priority=nearest_priority(int(task.priority)),
            is_urgent=urgent,
            takes_over=takes_over,
            run_after=task.run_after,
            using=write_database(task),
            root=table_model(type(task)),
            pk=task.pk,
        )


def push(tasks: Iterable[TaskRow], *, urgent: bool = False) -> bool:
    """Push a message for each PENDING task that is due; False if Redis does not answer.

    ``urgent`` messages are claimed before others of their priority. Never raises. A task whose
    message is not pushed is marked in the database for recovery.
    """
    return push_messages([TaskMessage.of(task, urgent=urgent) for task in _pending(tasks)])


def push_now(tasks: Iterable[TaskRow]) -> bool:
    """Push as ``push`` does, to the head of the queue: a priority below 0 counts as 0."""
    messages = [TaskMessage.of(task, urgent=True) for task in _pending(tasks)]
    return push_messages([m._replace(priority=max(0, m.priority)) for m in messages])


def _pending(tasks: Iterable[TaskRow]) -> list[TaskRow]:
    return [task for task in tasks if task.status == Status.PENDING]


def push_messages(messages: Iterable[TaskMessage]) -> bool:
    """Push messages that were built before, as ``push`` does."""
    due: list[TaskMessage] = []
    soon: list[tuple[float, TaskMessage]] = []
    for message in messages:
        seconds = clock.seconds_until(message.run_after, message.using)
        if seconds <= 0:
            due.append(message)
        elif seconds <= _HINT_SECONDS:
            soon.append((seconds, message))
    try:
        _push_by_channel(due)
        _push_hints(soon)
    except QueueUnavailable as error:
        _logger.debug("push_failed tasks=%s error=%s", len(due) + len(soon), error)
        _schedule_recheck(due)
        return False
    return True


def _push_hints(tasks: Iterable[tuple[float, TaskMessage]]) -> None:
    """Tell the nodes when ``tasks`` are due; of those within a tenth of a second, one is enough."""
    hints: dict[str, dict[int, tuple[str, float]]] = {}
    for seconds, message in tasks:
        hints.setdefault(message.channel, {})[int(seconds * 10)] = (message.id, seconds)
    for channel, by_time in hints.items():
        with _available_queue() as queue:
            queue.push_hints(channel, by_time.values())


def push_hint(model: type[TaskRow], using: str, run_after: Any) -> None:
    """Have a node look at the table of ``model`` when tasks of this ``run_after`` are due.

    Soon if it is an expression: the look finds the next due time. Never raises.
    """
    seconds = clock.seconds_until(run_after, using)
    if _HINT_SECONDS < seconds < math.inf:
        return
    seconds = _SOON_SECONDS if seconds == math.inf else max(seconds, _SOON_SECONDS)
    hint_id = f"{model._meta.label_lower}:hint:{uuid.uuid4()}"  # there is no message of this id
    try:
        with _available_queue() as queue:
            queue.push_hints(model.get_event_channel(), [(hint_id, seconds)])
    except QueueUnavailable as error:
        _logger.debug("push_hint_failed model=%s error=%s", model._meta.label, error)


def _push_by_channel(messages: Iterable[TaskMessage]) -> None:
    for (channel, urgent, take_over), group in groupby(
        sorted(messages, key=_push_group), key=_push_group
    ):
        batch = list(group)
        entries = [(message.id, message.data) for message in batch]
        priorities = {message.id: message.priority for message in batch if message.priority}
        with _available_queue() as queue:
            queue.push(channel, entries, urgent=urgent, take_over=take_over, priorities=priorities)


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

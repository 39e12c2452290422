"""Push the messages of due tasks to Redis after the commit, and cancel those of finished tasks."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from ..db import clock
from ..exceptions import InvalidSetting, QueueUnavailable
from ..ledger.task_row import all_rows
from ..logs import get_logger
from ..queue import TaskQueue, get_queue, is_in_test_run, outage
from ..states import Status
from .task_message import MessageBuilder, TaskMessage

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = get_logger(__name__)

#: Seconds without commands to Redis after it failed: one outage must not slow down every save.
_PAUSE_SECONDS = 2.0
#: The same in a run of Django's test runner: a Redis that is away is none at all.
_TEST_PAUSE_SECONDS = 300.0
#: Hints are pushed of tasks that are due within so many seconds.
_HINT_SECONDS = 10.0
#: A worker reads a hint within so many seconds.
_SOON_SECONDS = 0.3
_pause: tuple[TaskQueue | None, float] = (None, 0.0)
#: How many blocks are open in which Redis is left alone.
_silenced = 0
_silenced_lock = threading.Lock()


@contextmanager
def without_messages() -> Iterator[None]:
    """Within the block, this process sends nothing to Redis: tasks are found in their tables."""
    global _silenced
    with _silenced_lock:
        _silenced += 1
    try:
        yield
    finally:
        with _silenced_lock:
            _silenced -= 1


def push(tasks: Iterable[TaskRow], *, urgent: bool = False) -> bool:
    """Push a message for each PENDING task that is due; False if Redis does not answer.

    ``urgent`` messages are claimed before others of their priority. Never raises. A task whose
    message is not pushed is marked in the database for recovery.
    """
    build = MessageBuilder().build
    return push_messages([build(task, urgent=urgent) for task in _pending(tasks)])


def push_now(tasks: Iterable[TaskRow]) -> bool:
    """Push as ``push`` does, to the head of the queue: a priority below 0 counts as 0."""
    build = MessageBuilder().build
    messages = [build(task, urgent=True) for task in _pending(tasks)]
    return push_messages([m._replace(priority=max(0, m.priority)) for m in messages])


def _pending(tasks: Iterable[TaskRow]) -> list[TaskRow]:
    return [task for task in tasks if task.status == Status.PENDING]


def push_messages(messages: Iterable[TaskMessage]) -> bool:
    """Push messages that were built before, as ``push`` does."""
    if _silenced:
        return True
    due: list[TaskMessage] = []
    soon: list[tuple[float, TaskMessage]] = []
    for message in messages:
        if message.run_after is None:
            due.append(message)
            continue
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
        with _AvailableQueue() as queue:
            queue.push_hints(channel, by_time.values())


def push_hint(model: type[TaskRow], using: str, run_after: Any) -> None:
    """Have a node look at the table of ``model`` when tasks of this ``run_after`` are due.

    Soon if it is an expression: the look finds the next due time. Never raises.
    """
    if _silenced:
        return
    seconds = clock.seconds_until(run_after, using)
    if _HINT_SECONDS < seconds < math.inf:
        return
    seconds = _SOON_SECONDS if seconds == math.inf else max(seconds, _SOON_SECONDS)
    hint_id = f"{model._meta.label_lower}:hint:{uuid.uuid4()}"  # there is no message of this id
    try:
        with _AvailableQueue() as queue:
            queue.push_hints(model.get_event_channel(), [(hint_id, seconds)])
    except QueueUnavailable as error:
        _logger.debug("push_hint_failed model=%s error=%s", model._meta.label, error)


def _push_by_channel(messages: Iterable[TaskMessage]) -> None:
    groups: dict[tuple[str, bool, bool], list[TaskMessage]] = {}
    for message in messages:
        group = message.channel, message.is_urgent, message.takes_over
        groups.setdefault(group, []).append(message)
    for channel, urgent, take_over in sorted(groups):
        batch = groups[channel, urgent, take_over]
        encoded, priorities = [m.encoded for m in batch], [m.priority for m in batch]
        with _AvailableQueue() as queue:
            queue.push_encoded(channel, encoded, priorities, urgent=urgent, take_over=take_over)


class _AvailableQueue:
    """The queue; raises QueueUnavailable without a command if it failed a moment ago."""

    def __enter__(self) -> TaskQueue:
        try:
            self._queue = get_queue()
        except InvalidSetting as error:
            outage.record(error)
            raise QueueUnavailable(str(error)) from error
        paused_queue, until = _pause
        if paused_queue is self._queue and time.monotonic() < until:
            outage.count()
            raise QueueUnavailable("Redis failed a moment ago; no command is sent yet.")
        return self._queue

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        global _pause
        if kind is not None and issubclass(kind, QueueUnavailable):
            seconds = _TEST_PAUSE_SECONDS if is_in_test_run() else _PAUSE_SECONDS
            _pause = (self._queue, time.monotonic() + seconds)


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
    if _silenced:
        return
    ordered = sorted(channels, key=channels.__getitem__)
    for channel, keys in groupby(ordered, key=channels.__getitem__):
        try:
            with _AvailableQueue() as queue:
                queue.cancel_many(channel, list(keys))
        except QueueUnavailable as error:
            _logger.debug("cancel_messages_failed channel=%s error=%s", channel, error)

"""What follows a commit: the bell is rung in Redis, then the signals are sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, models, transaction

from . import clock
from .events import TaskEvent, events_of, family_of, home_of, root_of
from .exceptions import InvalidSetting, QueueUnavailable
from .queue import Queue, get_queue
from .signals import SIGNALS, task_transitioned
from .states import EventKind, Status

if TYPE_CHECKING:
    from .models import SimpleTask

_logger = logging.getLogger(__name__)

#: After these the task wants a worker; those of STEALING take the message from its holder.
RINGING = frozenset({EventKind.ENQUEUE, EventKind.RESET, EventKind.RECOVER})
STEALING = frozenset({EventKind.RESET, EventKind.RECOVER})

#: After these nobody may work on the task any more.
WITHDRAWING = frozenset({EventKind.CANCEL, EventKind.DROP, EventKind.DELETE})

#: How long Redis is left alone after it failed: one outage must not slow down every save.
_REST = 2.0
_resting: tuple[Queue | None, float] = (None, 0.0)


class Announcement:
    """What one transaction (or one savepoint of it) has to tell once it is committed.

    What is asked of the queue is noted with the fact. At the commit the instance may say something
    else: Django takes the key of a deleted one away, and a savepoint that was rolled back leaves
    its traces.
    """

    def __init__(self) -> None:
        self.births: dict[str, SimpleTask] = {}
        self.bells: dict[str, SimpleTask] = {}
        self.stolen: dict[str, SimpleTask] = {}
        self.withdrawn: dict[str, str] = {}
        self.facts: list[tuple[SimpleTask, TaskEvent]] = []
        self.is_out = False
        # Django logs a hook that raised by this name; without it the log raises into the save().
        self.__qualname__ = type(self).__qualname__

    def bell(self, task: SimpleTask) -> None:
        if (key := task.get_task_id()) not in self.births:
            self.bells[key] = task

    def fact(self, task: SimpleTask, event: TaskEvent) -> None:
        """Note ``event``, and what it asks of the queue."""
        self.facts.append((task, event))
        key = task.get_task_id()
        if event.kind in WITHDRAWING:
            self.withdrawn[key] = task.get_event_channel()
            for asked in (self.births, self.bells, self.stolen):
                asked.pop(key, None)
        elif event.kind in RINGING and not _has_rung(event):
            (self.stolen if event.kind in STEALING else self.births)[key] = task
            self.withdrawn.pop(key, None)

    def __call__(self) -> None:
        self.is_out = True
        try:
            self._ask_the_queue()
        finally:
            self._send_the_signals()

    def _ask_the_queue(self) -> None:
        withdraw(self.withdrawn)
        _ring_due(_as_saved(self.stolen.values()), steal=True)
        # An instance that was born here is of the model it was saved as; of another, nobody knows.
        others = [*self.births.values(), *_as_saved(self.bells.values())]
        _ring_due(task for task in others if task.get_task_id() not in self.stolen)

    def _send_the_signals(self) -> None:
        for task, event in self.facts:
            for signal in (*SIGNALS.get(EventKind(event.kind), ()), task_transitioned):
                signal.send_robust(sender=type(task), task=task, event=event)


def _has_rung(event: TaskEvent) -> bool:
    # A lost message is replaced before the loss is recorded: if Redis refuses, there is no event.
    return bool(event.kind == EventKind.RECOVER and event.from_status == Status.PENDING)


def pending(using: str) -> Announcement:
    """The announcement of the current transaction on ``using``; it goes out after its commit.

    To be called within an atomic block of ours, the innermost one. What is noted inside a savepoint
    is forgotten with that savepoint.
    """
    connection = transaction.get_connection(using)
    announcement = _last_one(connection) if _within_another_block(connection) else None
    if announcement is None:
        announcement = Announcement()
        transaction.on_commit(announcement, using=using, robust=True)
    return announcement


def _last_one(connection: Any) -> Announcement | None:
    here = _savepoints(connection.savepoint_ids)
    for sids, hook, *_ in reversed(connection.run_on_commit):
        if isinstance(hook, Announcement):
            return hook if _savepoints(sids) == here and not hook.is_out else None
    return None


def _within_another_block(connection: Any) -> bool:
    # The blocks that a TestCase puts around a test are never committed: what is told within them
    # must be a callback of its own, or captureOnCommitCallbacks() would not find it.
    blocks = [block for block in connection.atomic_blocks if not block._from_testcase]
    return len(blocks) > 1


def _savepoints(sids: Iterable[Any]) -> set[Any]:
    return {sid for sid in sids if sid is not None}


def ring(tasks: Iterable[SimpleTask], *, steal: bool = False, urgent: bool = False) -> bool:
    """Push a message for each PENDING task that is due; False if Redis could not be told.

    ``urgent`` ones are the next to be taken, as are tasks with a priority. Never raises. What could
    not be rung is marked in the database, so that recovery rings it soon.
    """
    waiting = [task for task in tasks if task.status == Status.PENDING]
    return _ring_due(waiting, steal=steal, urgent=urgent)


def _ring_due(tasks: Iterable[SimpleTask], *, steal: bool = False, urgent: bool = False) -> bool:
    waiting = [task for task in tasks if clock.is_past(task.run_after, home_of(task))]
    if not waiting:
        return True
    try:
        _push(waiting, steal=steal, urgent=urgent)
    except QueueUnavailable as error:
        _logger.warning("bell_failed tasks=%s error=%s", len(waiting), error)
        _leave_to_recovery(waiting)
        return False
    return True


def _push(tasks: list[SimpleTask], *, steal: bool, urgent: bool) -> None:
    ordered = sorted(tasks, key=_address)
    for (channel, preferred), group in groupby(ordered, key=_address):
        messages = [(task.get_task_id(), task.get_task_data()) for task in group]
        with _willing_queue() as queue:
            queue.push(channel, messages, urgent=urgent or preferred, steal=steal)


@contextmanager
def _willing_queue() -> Iterator[Queue]:
    """The queue, unless it failed a moment ago; QueueUnavailable then, without asking it."""
    global _resting
    try:
        queue = get_queue()
    except InvalidSetting as error:
        raise QueueUnavailable(str(error)) from error
    who, until = _resting
    if who is queue and time.monotonic() < until:
        raise QueueUnavailable("Redis failed a moment ago and is not asked again yet.")
    try:
        yield queue
    except QueueUnavailable:
        _resting = (queue, time.monotonic() + _REST)
        raise


def _as_saved(tasks: Iterable[SimpleTask]) -> Iterator[SimpleTask]:
    """The tasks as the models they were saved as: those have the channels and the bodies."""
    for (using, root), group in _by_table(tasks).items():
        family = family_of(root)
        labels = _labels(root, using, group) if len(family) > 1 else {}
        for task in group:
            model = family.get(labels.get(task.pk, ""), type(task))
            yield task if model is type(task) else _seen_as(model, task)


def _labels(root: type[SimpleTask], using: str, tasks: Iterable[SimpleTask]) -> dict[Any, str]:
    births = events_of(root, using).filter(
        task__in=[task.pk for task in tasks], kind=EventKind.ENQUEUE
    )
    try:
        told = dict(births.values_list("task_id", "data"))
    except DatabaseError:
        return {}  # the worker, or recovery, will see
    return {pk: (data or {}).get("model", root._meta.label) for pk, data in told.items()}


def _seen_as(model: type[SimpleTask], task: SimpleTask) -> SimpleTask:
    names = ("status", "run_after", "priority")
    twin = model(**{name: getattr(task, name) for name in names})
    twin.pk, twin._state = task.pk, task._state
    return twin


def _by_table(
    tasks: Iterable[SimpleTask],
) -> dict[tuple[str, type[SimpleTask]], list[SimpleTask]]:
    by_table: dict[tuple[str, type[SimpleTask]], list[SimpleTask]] = {}
    for task in tasks:
        by_table.setdefault((home_of(task), root_of(type(task))), []).append(task)
    return by_table


def _address(task: SimpleTask) -> tuple[str, bool]:
    return task.get_event_channel(), task.priority > 0


def _leave_to_recovery(tasks: Sequence[SimpleTask]) -> None:
    for (using, root), group in _by_table(tasks).items():
        rows: models.QuerySet[Any] = models.QuerySet(root, using=using).filter(
            pk__in=[task.pk for task in group], status=Status.PENDING
        )
        try:
            rows.update(lease_until=clock.now(using))
        except DatabaseError as error:
            # The row keeps the deadline it was born with; recovery comes to it a little later.
            _logger.warning("bell_not_postponed model=%s error=%s", root._meta.label, error)


def withdraw(channels: Mapping[str, str]) -> None:
    """Take messages (id: channel) of tasks that must not run any more out of Redis; never raises.

    A message that stays behind costs one pop: its row says that there is nothing to do.
    """
    ordered = sorted(channels, key=channels.__getitem__)
    for channel, keys in groupby(ordered, key=channels.__getitem__):
        try:
            with _willing_queue() as queue:
                queue.withdraw(channel, list(keys))
        except QueueUnavailable as error:
            _logger.warning("withdraw_failed channel=%s error=%s", channel, error)


def bell(task: SimpleTask, using: str) -> None:
    """Ring for ``task`` once the transaction on ``using`` is committed; now if there is none."""
    if transaction.get_connection(using).in_atomic_block:
        with transaction.atomic(using=using, savepoint=False):
            pending(using).bell(task)
    else:
        ring(_as_saved([task]))

"""What follows a commit: the bell is rung in Redis, then the signals are sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, models, transaction

from . import clock
from .events import TaskEvent, home_of, root_of
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


@dataclass(frozen=True, slots=True)
class Bell:
    """What rings for one task, as the task was when it was asked for."""

    channel: str
    id: str
    data: dict[str, Any]
    is_urgent: bool
    steals: bool
    run_after: Any
    using: str
    root: type[SimpleTask]
    pk: Any

    @classmethod
    def of(cls, task: SimpleTask, *, steals: bool = False, urgent: bool = False) -> Bell:
        """The bell of ``task``; with a priority, or ``urgent``, it is the next to be taken."""
        return cls(
            channel=task.get_event_channel(),
            id=task.get_task_id(),
            data=task.get_task_data(),
            is_urgent=urgent or task.priority > 0,
            steals=steals,
            run_after=task.run_after,
            using=home_of(task),
            root=root_of(type(task)),
            pk=task.pk,
        )


class Announcement:
    """What one transaction (or one savepoint of it) has to tell once it is committed.

    What is asked of the queue is noted with the fact. At the commit the instance may say something
    else: Django takes the key of a deleted one away, a copy is made by giving it another key, and a
    savepoint that was rolled back leaves its traces.
    """

    def __init__(self) -> None:
        self.bells: dict[str, Bell] = {}
        self.withdrawn: dict[str, str] = {}
        self.facts: list[tuple[SimpleTask, TaskEvent]] = []
        self.is_out = False
        # Django logs a hook that raised by this name; without it the log raises into the save().
        self.__qualname__ = type(self).__qualname__

    def bell(self, task: SimpleTask, *, steals: bool = False) -> None:
        """Note that ``task`` is to ring; what was to take its message from a holder still does."""
        try:
            bell = Bell.of(task, steals=steals)
        except Exception:
            # Recovery looks after the row, and nobody else waits for it.
            _logger.exception("bell_not_made model=%s pk=%s", task._meta.label, task.pk)
            return
        before = self.bells.get(bell.id)
        self.bells[bell.id] = replace(bell, steals=True) if before and before.steals else bell
        self.withdrawn.pop(bell.id, None)

    def fact(self, task: SimpleTask, event: TaskEvent) -> None:
        """Note ``event``, and what it asks of the queue."""
        self.facts.append((task, event))
        if event.kind in WITHDRAWING:
            key = task.get_task_id()
            self.withdrawn[key] = task.get_event_channel()
            self.bells.pop(key, None)
        elif event.kind in RINGING and not _has_rung(event):
            self.bell(task, steals=event.kind in STEALING)

    def __call__(self) -> None:
        self.is_out = True
        try:
            self._ask_the_queue()
        finally:
            self._send_the_signals()

    def _ask_the_queue(self) -> None:
        withdraw(self.withdrawn)
        _ring(self.bells.values())

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
    return _ring([Bell.of(task, steals=steal, urgent=urgent) for task in waiting])


def _ring(bells: Iterable[Bell]) -> bool:
    due = [bell for bell in bells if clock.is_past(bell.run_after, bell.using)]
    try:
        _push(due)
    except QueueUnavailable as error:
        _logger.warning("bell_failed tasks=%s error=%s", len(due), error)
        _leave_to_recovery(due)
        return False
    return True


def _push(bells: Iterable[Bell]) -> None:
    for (channel, urgent, steal), group in groupby(sorted(bells, key=_way), key=_way):
        messages = [(bell.id, bell.data) for bell in group]
        with _willing_queue() as queue:
            queue.push(channel, messages, urgent=urgent, steal=steal)


def _way(bell: Bell) -> tuple[str, bool, bool]:
    return bell.channel, bell.is_urgent, bell.steals


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


def _leave_to_recovery(bells: Iterable[Bell]) -> None:
    by_table: dict[tuple[str, type[SimpleTask]], list[Any]] = {}
    for bell in bells:
        by_table.setdefault((bell.using, bell.root), []).append(bell.pk)
    for (using, root), pks in by_table.items():
        rows: models.QuerySet[Any] = models.QuerySet(root, using=using).filter(
            pk__in=pks, status=Status.PENDING
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
        ring([task])

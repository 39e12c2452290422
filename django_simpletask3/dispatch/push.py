"""Bells: the messages in Redis that say which task is to be looked at, rung and withdrawn."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError, models

from ..db import clock
from ..exceptions import InvalidSetting, QueueUnavailable
from ..ledger.task_row import home_of, root_of
from ..queue import Queue, get_queue
from ..states import Status

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = logging.getLogger(__name__)

#: How long Redis is left alone after it failed: one outage must not slow down every save.
_REST = 2.0
_resting: tuple[Queue | None, float] = (None, 0.0)


class Bell(NamedTuple):
    """What rings for one task, as the task was when it was asked for."""

    channel: str
    id: str
    data: dict[str, Any]
    is_urgent: bool
    steals: bool
    run_after: Any
    using: str
    root: type[TaskRow]
    pk: Any

    @classmethod
    def of(cls, task: TaskRow, *, steals: bool = False, urgent: bool = False) -> Bell:
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


def ring(tasks: Iterable[TaskRow], *, steal: bool = False, urgent: bool = False) -> bool:
    """Push a message for each PENDING task that is due; False if Redis could not be told.

    ``urgent`` ones are the next to be taken, as are tasks with a priority. Never raises. What could
    not be rung is marked in the database, so that recovery rings it soon.
    """
    waiting = [task for task in tasks if task.status == Status.PENDING]
    return rung([Bell.of(task, steals=steal, urgent=urgent) for task in waiting])


def rung(bells: Iterable[Bell]) -> bool:
    """As ``ring``, of bells that were noted before."""
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
    by_table: dict[tuple[str, type[TaskRow]], list[Any]] = {}
    for bell in bells:
        by_table.setdefault((bell.using, bell.root), []).append(bell.pk)
    for (using, root), pks in by_table.items():
        rows: models.QuerySet[Any] = models.QuerySet(root, using=using).filter(
            pk__in=pks, status=Status.PENDING
        )
        try:
            rows.update(check_at=clock.now(using))
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

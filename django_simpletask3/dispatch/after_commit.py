"""What follows a commit: the bell is rung in Redis, then the signals are sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..context import following
from ..ledger.event import TaskEvent
from ..ledger.task_row import name_of
from ..signals import NAMES, SIGNALS, task_transitioned
from ..states import EventKind, Status
from .push import Bell, ring, rung, withdraw

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = logging.getLogger(__name__)

#: After these the task wants a worker; those of STEALING take the message from its holder.
RINGING = frozenset({EventKind.ENQUEUE, EventKind.RESET, EventKind.RECOVER})
STEALING = frozenset({EventKind.RESET, EventKind.RECOVER})

#: After these nobody may work on the task any more.
WITHDRAWING = frozenset({EventKind.CANCEL, EventKind.DROP, EventKind.DELETE})


class Announcement:
    """What one transaction (or one savepoint of it) has to tell once it is committed.

    What is asked of the queue is noted with the fact. At the commit the instance may say something
    else: Django takes the key of a deleted one away, a copy is made by giving it another key, and a
    savepoint that was rolled back leaves its traces.
    """

    def __init__(self) -> None:
        self.bells: dict[str, Bell] = {}
        self.withdrawn: dict[str, str] = {}
        self.facts: list[tuple[TaskRow, TaskEvent]] = []
        self.is_out = False
        # Django logs a hook that raised by this name; without it the log raises into the save().
        self.__qualname__ = type(self).__qualname__

    def bell(self, task: TaskRow, *, steals: bool = False) -> None:
        """Note that ``task`` is to ring; what was to take its message from a holder still does."""
        try:
            bell = Bell.of(task, steals=steals)
        except Exception:
            # Recovery looks after the row, and nobody else waits for it.
            _logger.exception("bell_not_made model=%s pk=%s", task._meta.label, task.pk)
            return
        before = self.bells.get(bell.id)
        self.bells[bell.id] = bell._replace(steals=True) if before and before.steals else bell
        self.withdrawn.pop(bell.id, None)

    def fact(self, fact: tuple[TaskRow, TaskEvent]) -> None:
        """Note that a task has had an event, and what that asks of the queue."""
        self.facts.append(fact)
        task, event = fact
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
        rung(self.bells.values())

    def _send_the_signals(self) -> None:
        # Most have no receivers, and what they would find current costs some time to make.
        heard: dict[tuple[type, EventKind], list[Any]] = {}
        for task, event in self.facts:
            way = (type(task), event.kind)
            if way not in heard:
                signals = (*SIGNALS.get(event.kind, ()), task_transitioned)
                heard[way] = [signal for signal in signals if signal.has_listeners(type(task))]
            for signal in heard[way]:
                with _following(task, event, NAMES[signal]):
                    signal.send_robust(sender=type(task), task=task, event=event)


def _following(task: TaskRow, event: TaskEvent, signal: str) -> AbstractContextManager[None]:
    try:
        name = name_of(task, event.task_id)
    except Exception:
        # A router, or a key, that raises: the receivers are told all the same.
        _logger.exception("task_not_named model=%s", task._meta.label)
        return nullcontext()
    return following(name, actor=f"signal {signal}", cause=f"{name} #{event.sequence}")


def _has_rung(event: TaskEvent) -> bool:
    # A lost message is replaced before the loss is recorded: if Redis refuses, there is no event.
    return bool(event.kind == EventKind.RECOVER and event.from_status == Status.PENDING)


def note(facts: Iterable[tuple[TaskRow, TaskEvent]], using: str) -> None:
    """Tell ``facts`` once the transaction on ``using`` is committed; now if it is."""
    is_open = transaction.get_connection(using).in_atomic_block
    announcement = pending(using) if is_open else Announcement()
    for fact in facts:
        announcement.fact(fact)
    if not is_open:
        transaction.on_commit(announcement, using=using, robust=True)


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


def bell(task: TaskRow, using: str) -> None:
    """Ring for ``task`` once the transaction on ``using`` is committed; now if there is none."""
    if transaction.get_connection(using).in_atomic_block:
        with transaction.atomic(using=using, savepoint=False):
            pending(using).bell(task)
    else:
        ring([task])

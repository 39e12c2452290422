"""What follows a commit: the bell is rung in Redis, then the signals are sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..context import following_event
from ..ledger.event import TaskEvent
from ..ledger.task_row import task_reference
from ..signals import NAMES, SIGNALS, task_transitioned
from ..states import EVENTS, EventKind, QueueEffect, Status
from .push import TaskMessage, cancel_messages, push, push_messages

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = logging.getLogger(__name__)

_PUSHES = frozenset({QueueEffect.PUSH, QueueEffect.TAKE_OVER})


class CommitHook:
    """What one transaction (or one savepoint of it) has to tell once it is committed.

    What is asked of the queue is noted with the fact. At the commit the instance may say something
    else: Django takes the key of a deleted one away, a copy is made by giving it another key, and a
    savepoint that was rolled back leaves its traces.
    """

    def __init__(self) -> None:
        self.messages: dict[str, TaskMessage] = {}
        self.cancelled_channels: dict[str, str] = {}
        self.recorded_events: list[tuple[TaskRow, TaskEvent]] = []
        self.has_run = False
        # Django logs a hook that raised by this name; without it the log raises into the save().
        self.__qualname__ = type(self).__qualname__

    def add_push(self, task: TaskRow, *, takes_over: bool = False) -> None:
        """Note that ``task`` is to ring; what was to take its message from a holder still does."""
        try:
            message = TaskMessage.of(task, takes_over=takes_over)
        except Exception:
            # Recovery looks after the row, and nobody else waits for it.
            _logger.exception("message_not_built model=%s pk=%s", task._meta.label, task.pk)
            return
        earlier = self.messages.get(message.id)
        self.messages[message.id] = (
            message._replace(takes_over=True) if earlier and earlier.takes_over else message
        )
        self.cancelled_channels.pop(message.id, None)

    def add_event(self, recorded_event: tuple[TaskRow, TaskEvent]) -> None:
        """Note that a task has had an event, and what that asks of the queue."""
        self.recorded_events.append(recorded_event)
        task, event = recorded_event
        effect = EVENTS[event.kind].queue
        if effect is QueueEffect.CANCEL:
            message_id = task.get_task_id()
            self.cancelled_channels[message_id] = task.get_event_channel()
            self.messages.pop(message_id, None)
        elif effect in _PUSHES and not _has_been_pushed(event):
            self.add_push(task, takes_over=effect is QueueEffect.TAKE_OVER)

    def __call__(self) -> None:
        self.has_run = True
        try:
            self._update_queue()
        finally:
            self._send_signals()

    def _update_queue(self) -> None:
        cancel_messages(self.cancelled_channels)
        push_messages(self.messages.values())

    def _send_signals(self) -> None:
        # Most have no receivers, and what they would find current costs some time to make.
        listened_signals: dict[tuple[type, EventKind], list[Any]] = {}
        for task, event in self.recorded_events:
            signal_key = (type(task), event.kind)
            if signal_key not in listened_signals:
                signals = (*SIGNALS.get(event.kind, ()), task_transitioned)
                listened_signals[signal_key] = [
                    signal for signal in signals if signal.has_listeners(type(task))
                ]
            for signal in listened_signals[signal_key]:
                with _signal_context(task, event, NAMES[signal]):
                    signal.send_robust(sender=type(task), task=task, event=event)


def _signal_context(task: TaskRow, event: TaskEvent, signal: str) -> AbstractContextManager[None]:
    try:
        name = task_reference(task, event.task_id)
    except Exception:
        # A router, or a key, that raises: the receivers are told all the same.
        _logger.exception("task_not_named model=%s", task._meta.label)
        return nullcontext()
    return following_event(name, actor=f"signal {signal}", cause=f"{name} #{event.sequence}")


def _has_been_pushed(event: TaskEvent) -> bool:
    # A lost message is replaced before the loss is recorded: if Redis refuses, there is no event.
    return bool(event.kind == EventKind.RECOVER and event.from_status == Status.PENDING)


def schedule(recorded_events: Iterable[tuple[TaskRow, TaskEvent]], using: str) -> None:
    """Tell ``facts`` once the transaction on ``using`` is committed; now if it is."""
    is_open = transaction.get_connection(using).in_atomic_block
    hook = current_hook(using) if is_open else CommitHook()
    for recorded_event in recorded_events:
        hook.add_event(recorded_event)
    if not is_open:
        transaction.on_commit(hook, using=using, robust=True)


def current_hook(using: str) -> CommitHook:
    """The announcement of the current transaction on ``using``; it goes out after its commit.

    To be called within an atomic block of ours, the innermost one. What is noted inside a savepoint
    is forgotten with that savepoint.
    """
    connection = transaction.get_connection(using)
    hook = _scheduled_hook(connection) if _is_nested(connection) else None
    if hook is None:
        hook = CommitHook()
        transaction.on_commit(hook, using=using, robust=True)
    return hook


def _scheduled_hook(connection: Any) -> CommitHook | None:
    open_savepoints = _savepoints(connection.savepoint_ids)
    for sids, hook, *_ in reversed(connection.run_on_commit):
        if isinstance(hook, CommitHook):
            return hook if _savepoints(sids) == open_savepoints and not hook.has_run else None
    return None


def _is_nested(connection: Any) -> bool:
    # The blocks that a TestCase puts around a test are never committed: what is told within them
    # must be a callback of its own, or captureOnCommitCallbacks() would not find it.
    blocks = [block for block in connection.atomic_blocks if not block._from_testcase]
    return len(blocks) > 1


def _savepoints(sids: Iterable[Any]) -> set[Any]:
    return {sid for sid in sids if sid is not None}


def schedule_push(task: TaskRow, using: str) -> None:
    """Ring for ``task`` once the transaction on ``using`` is committed; now if there is none."""
    if transaction.get_connection(using).in_atomic_block:
        with transaction.atomic(using=using, savepoint=False):
            current_hook(using).add_push(task)
    else:
        push([task])

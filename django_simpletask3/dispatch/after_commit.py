"""After a commit: update the queue in Redis, then send the signals."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..context import following_event
from ..ledger.event import TaskEvent
from ..ledger.task_row import task_reference
from ..logs import get_logger
from ..signals import NAMES, SIGNALS, task_transitioned
from ..states import EVENTS, LIMIT_REASON, EventKind, QueueEffect, Status
from .push import TaskMessage, cancel_messages, push, push_messages

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = get_logger(__name__)

_PUSHES = frozenset({QueueEffect.PUSH, QueueEffect.TAKE_OVER})


class CommitHook:
    """The queue updates and signals of one transaction, or of one of its savepoints.

    Messages are built when an event is added. At the commit, the instance may have changed: Django
    removes the key of a deleted instance, a copy is made by assigning another key, and a savepoint
    that was rolled back leaves its values.
    """

    def __init__(self) -> None:
        self.messages: dict[str, TaskMessage] = {}
        self.cancelled_channels: dict[str, str] = {}
        self.recorded_events: list[tuple[TaskRow, TaskEvent]] = []
        self.has_run = False
        # Django logs a hook that raised by this name; without a name, logging raises into save().
        self.__qualname__ = type(self).__qualname__

    def add_push(self, task: TaskRow, *, takes_over: bool = False, urgent: bool = False) -> None:
        """Push a message for ``task``; an earlier request to take over stays in force."""
        try:
            message = TaskMessage.of(task, takes_over=takes_over, urgent=urgent)
        except Exception:
            # Recovery examines the row later; the transaction must not fail.
            _logger.exception("message_not_built model=%s pk=%s", task._meta.label, task.pk)
            return
        earlier = self.messages.get(message.id)
        self.messages[message.id] = (
            message._replace(takes_over=True) if earlier and earlier.takes_over else message
        )
        self.cancelled_channels.pop(message.id, None)

    def add_event(self, recorded_event: tuple[TaskRow, TaskEvent]) -> None:
        """Add a recorded event, with its effect on the queue."""
        self.recorded_events.append(recorded_event)
        task, event = recorded_event
        effect = EVENTS[event.kind].queue
        if _is_of_limit(event):
            self._add_event_of_limit(task, event)
        elif effect is QueueEffect.CANCEL:
            message_id = task.get_task_id()
            self.cancelled_channels[message_id] = task.get_event_channel()
            self.messages.pop(message_id, None)
        elif effect in _PUSHES and not _has_been_pushed(event):
            self.add_push(task, takes_over=effect is QueueEffect.TAKE_OVER)
        elif event.kind == EventKind.START and self.messages:
            # Started in the transaction that would have it pushed: it needs no message.
            self.messages.pop(task.get_task_id(), None)

    def _add_event_of_limit(self, task: TaskRow, event: TaskEvent) -> None:
        """Push a task that was given a place, before others.

        The message of one that was turned away is claimed, and its worker settles it. To cancel it
        here, too, might remove the message of the place that was given meanwhile; and that one
        takes over, because the claim may not be settled yet.
        """
        if event.kind == EventKind.UNBLOCK:
            self.add_push(task, takes_over=True, urgent=True)

    def __call__(self) -> None:
        self.has_run = True
        try:
            cancel_messages(self.cancelled_channels)
            push_messages(self.messages.values())
        except Exception:
            # Recovery looks after the messages. Django's own record of the error goes nowhere, too.
            _logger.exception("queue_not_updated")
        finally:
            self._send_signals()

    def _send_signals(self) -> None:
        # Most signals have no receivers, and the context of a receiver takes time to build.
        listened_signals: dict[tuple[type, EventKind], list[Any]] = {}
        for task, event in self.recorded_events:
            signal_key = (type(task), event.kind)
            if signal_key not in listened_signals:
                signals = (*SIGNALS.get(event.kind, ()), task_transitioned)
                listened_signals[signal_key] = [s for s in signals if s.has_listeners(type(task))]
            for signal in listened_signals[signal_key]:
                with _signal_context(task, event, NAMES[signal]):
                    signal.send_robust(sender=type(task), task=task, event=event)


def _signal_context(task: TaskRow, event: TaskEvent, signal: str) -> AbstractContextManager[None]:
    try:
        name = task_reference(task, event.task_id)
    except Exception:
        # A router, or a key, that raises: the receivers are called all the same.
        _logger.exception("task_not_named model=%s", task._meta.label)
        return nullcontext()
    return following_event(name, actor=f"signal {signal}", cause=f"{name} #{event.sequence}")


def _has_been_pushed(event: TaskEvent) -> bool:
    # A lost message is replaced before the loss is recorded: if Redis refuses, there is no event.
    return bool(event.kind == EventKind.RECOVER and event.from_status == Status.PENDING)


def _is_of_limit(event: TaskEvent) -> bool:
    """Whether ``event`` turned a task away from its limit, or gave it a place."""
    is_of_kind = event.kind in (EventKind.BLOCK, EventKind.UNBLOCK)
    return bool(is_of_kind and event.reason == LIMIT_REASON and "limit" in (event.data or {}))


def schedule(
    recorded_events: Iterable[tuple[TaskRow, TaskEvent]],
    using: str,
    hook: CommitHook | None = None,
) -> None:
    """Send events after the commit of the transaction on ``using``; now if there is none.

    ``hook`` is what ``hook_of_transaction`` returned before others could record events.
    """
    open_hook = hook or hook_of_transaction(using)
    hook = open_hook or CommitHook()
    for recorded_event in recorded_events:
        hook.add_event(recorded_event)
    if open_hook is None:
        transaction.on_commit(hook, using=using, robust=True)


def hook_of_transaction(using: str) -> CommitHook | None:
    """``current_hook``, or None if no transaction is open."""
    return current_hook(using) if transaction.get_connection(using).in_atomic_block else None


def current_hook(using: str) -> CommitHook:
    """The hook of the current transaction on ``using``, which runs after its commit.

    Call it within the innermost atomic block. A savepoint that is rolled back discards what was
    added inside it.
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
    # The blocks that a TestCase puts around a test are never committed: each event within them
    # needs its own callback, or captureOnCommitCallbacks() would not find it.
    blocks = [block for block in connection.atomic_blocks if not block._from_testcase]
    return len(blocks) > 1


def _savepoints(sids: Iterable[object]) -> set[object]:
    return {sid for sid in sids if sid is not None}


def schedule_push(task: TaskRow, using: str) -> None:
    """Push a message for ``task`` after the commit on ``using``; now without a transaction."""
    if transaction.get_connection(using).in_atomic_block:
        with transaction.atomic(using=using, savepoint=False):
            current_hook(using).add_push(task)
    else:
        push([task])

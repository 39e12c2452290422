"""After a commit: update the queue in Redis, then send the signals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import Error, transaction

from ..batches import batches
from ..context import following_event
from ..ledger.event import TaskEvent, events_of, is_of_limit
from ..ledger.task_row import task_reference
from ..logs import get_logger
from ..signals import NAMES, SIGNALS, task_transitioned
from ..states import EVENTS, EventKind, QueueEffect, Status
from .push import cancel_messages, push, push_messages
from .task_message import MessageBuilder, TaskMessage

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = get_logger(__name__)

#: Events in one query; some databases limit that.
_BATCH_SIZE = 500

RecordedEvent = tuple["TaskRow", TaskEvent]


class NewTasks(NamedTuple):
    """New tasks of one model whose ``enqueue`` events have no instances yet.

    ``pks`` are the keys at the insert: at the commit an instance may have another one, or none.
    """

    model: type[TaskRow]
    using: str
    tasks: list[TaskRow]
    pks: list[Any]

    def pair(self, events: Mapping[Any, TaskEvent]) -> list[RecordedEvent]:
        """The tasks with those of ``events`` that are theirs."""
        pairs = zip(self.tasks, self.pks, strict=True)
        return [(task, events[pk]) for task, pk in pairs if pk in events]


class CommitHook:
    """The queue updates and signals of one transaction, or of one of its savepoints.

    Messages are built when an event is added. At the commit, the instance may have changed: Django
    removes the key of a deleted instance, a copy is made by assigning another key, and a savepoint
    that was rolled back leaves its values.
    """

    def __init__(self) -> None:
        self.messages: dict[str, TaskMessage] = {}
        self.cancelled_channels: dict[str, str] = {}
        self.recorded_events: list[RecordedEvent | NewTasks] = []
        self.has_run = False
        self._builder = MessageBuilder()
        # Django logs a hook that raised by this name; without a name, logging raises into save().
        self.__qualname__ = type(self).__qualname__

    def add_push(self, task: TaskRow, *, takes_over: bool = False, urgent: bool = False) -> None:
        """Push a message for ``task``; an earlier request to take over stays in force."""
        try:
            message = self._builder.build(task, takes_over=takes_over, urgent=urgent)
        except Exception:
            # Recovery examines the row later; the transaction must not fail.
            _logger.exception("message_not_built model=%s pk=%s", task._meta.label, task.pk)
            return
        earlier = self.messages.get(message.id)
        self.messages[message.id] = (
            message._replace(takes_over=True) if earlier and earlier.takes_over else message
        )
        self.cancelled_channels.pop(message.id, None)

    def add_events(self, recorded_events: Iterable[RecordedEvent]) -> None:
        """Add recorded events, with their effects on the queue."""
        for recorded_event in recorded_events:
            self.recorded_events.append(recorded_event)
            self._add_effect(*recorded_event)

    def add_new(self, tasks: Sequence[TaskRow], using: str) -> None:
        """Push new tasks of one model; their events are read if they have receivers then."""
        model = type(tasks[0])
        last = self.recorded_events[-1] if self.recorded_events else None
        if not isinstance(last, NewTasks) or (last.model, last.using) != (model, using):
            last = NewTasks(model, using, [], [])
            self.recorded_events.append(last)
        for task in tasks:
            self.add_push(task)
            last.tasks.append(task)
            last.pks.append(task.pk)

    def _add_effect(self, task: TaskRow, event: TaskEvent) -> None:
        effect = EVENTS[event.kind].queue
        if effect is QueueEffect.NONE:
            if event.kind == EventKind.START and self.messages:
                # Started in the transaction that would have it pushed: it needs no message.
                self.messages.pop(task.get_task_id(), None)
        elif is_of_limit(event):
            self._add_event_of_limit(task, event)
        elif effect is QueueEffect.CANCEL:
            message_id = task.get_task_id()
            self.cancelled_channels[message_id] = task.get_event_channel()
            self.messages.pop(message_id, None)
        elif not _has_been_pushed(event):
            self.add_push(task, takes_over=effect is QueueEffect.TAKE_OVER)

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
            if self.recorded_events:
                self._send_signals()

    def _send_signals(self) -> None:
        if not any(signal.receivers for signal in NAMES):
            return
        # Most signals have no receivers, and the context of a receiver takes time to build.
        signals_for = cache(_signals_with_receivers)
        new = [recorded for recorded in self.recorded_events if isinstance(recorded, NewTasks)]
        # All of them now: receivers may change the streams of others.
        first_events = _read_first_events(
            [tasks for tasks in new if signals_for(tasks.model, EventKind.ENQUEUE)]
        )
        for recorded in self.recorded_events:
            if isinstance(recorded, NewTasks):
                events = recorded.pair(first_events.get((recorded.model, recorded.using), {}))
            else:
                events = [recorded]
            for task, event in events:
                _send(signals_for(type(task), event.kind), task, event)


def _read_first_events(
    new: Iterable[NewTasks],
) -> dict[tuple[type[TaskRow], str], dict[Any, TaskEvent]]:
    """The first events of the tasks by their keys, as far as they are there, of each table."""
    pks: dict[tuple[type[TaskRow], str], list[Any]] = {}
    for tasks in new:
        pks.setdefault((tasks.model, tasks.using), []).extend(tasks.pks)
    events: dict[tuple[type[TaskRow], str], dict[Any, TaskEvent]] = {}
    for (model, using), of_model in pks.items():
        found = events.setdefault((model, using), {})
        try:
            for batch in batches(of_model, _BATCH_SIZE):
                first = events_of(model, using).filter(task__in=batch, sequence=1)
                found |= {event.task_id: event for event in first}
        except Error:
            # The receivers are not called: these events are in the stream all the same.
            _logger.exception("events_not_read model=%s", model._meta.label)
    return events


def _signals_with_receivers(model: type, kind: EventKind) -> list[Any]:
    signals = (*SIGNALS.get(kind, ()), task_transitioned)
    return [signal for signal in signals if signal.has_listeners(model)]


def _send(signals: Iterable[Any], task: TaskRow, event: TaskEvent) -> None:
    for signal in signals:
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


def schedule(
    recorded_events: Iterable[RecordedEvent],
    using: str,
    hook: CommitHook | None = None,
) -> None:
    """Send events after the commit of the transaction on ``using``; now if there is none.

    ``hook`` is what ``hook_of_transaction`` returned before others could record events.
    """
    open_hook = hook or hook_of_transaction(using)
    hook = open_hook or CommitHook()
    hook.add_events(recorded_events)
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


def schedule_messages(tasks: Sequence[TaskRow], connection: Any) -> None:
    """Push messages for new ``tasks`` of a model after the commit on ``connection``.

    Their first events are read from the table then, if a signal has receivers.
    """
    if connection.in_atomic_block:
        current_hook(connection.alias).add_new(tasks, connection.alias)
        return
    hook = CommitHook()
    for task in tasks:
        hook.add_push(task)
    hook()

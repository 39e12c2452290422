"""What a waiting task depends on: its queue, Redis, the workers, its message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.db import Error, transaction

from ... import control
from ...control import OperatorCommand
from ...exceptions import InvalidSetting, QueueUnavailable
from ...ledger.task_row import TaskRow
from ...logs import get_logger
from ...queue import Report, get_queue

_logger = get_logger(__name__)

#: Messages among which that of a task is searched, from the one that is claimed next.
MAX_PLACE = 1000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the queues and workers of the project."""

    #: The commands that pause queues, by the labels of their models.
    pauses: Mapping[str, OperatorCommand]
    #: The labels of the models that workers run, by their reports.
    served: frozenset[str] = frozenset()
    has_workers: bool = False
    #: Why nothing is known of workers and messages; None if Redis answers.
    redis_error: Exception | None = None
    #: Whether workers poll the tables, because there is no Redis; then they are not known.
    is_polled: bool = False


class Whereabouts(Enum):
    """Where the message of a task is, unless its place in the queue is known."""

    FAR = "far"  # more than MAX_PLACE messages are before it
    CLAIMED = "claimed"
    MISSING = "missing"


def read_surroundings(model: type[TaskRow]) -> Surroundings:
    """What tasks of ``model`` depend on: one query, and one command to Redis.

    Raises nothing if a database or Redis does not answer.
    """
    pauses = _pauses_of(model)
    try:
        queue = get_queue()
        if not queue.has_messages:
            return Surroundings(pauses, is_polled=True)
        reports = queue.workers()
    except (QueueUnavailable, InvalidSetting) as error:
        return Surroundings(pauses, redis_error=error)
    return Surroundings(pauses, served_labels(reports), bool(reports))


def served_labels(reports: Iterable[Report]) -> frozenset[str]:
    """The labels of the models that the workers of ``reports`` run."""
    models = (report.status.get("models") for report in reports)
    return frozenset(label for labels in models if isinstance(labels, dict) for label in labels)


def find_message(task: TaskRow) -> int | Whereabouts:
    """How many messages are before that of ``task``, or where else it is.

    A few commands, whatever the length of the queue. Raises QueueUnavailable, and InvalidSetting.
    """
    queue, channel, message_id = get_queue(), task.get_event_channel(), task.get_task_id()
    place = queue.place(channel, message_id, limit=MAX_PLACE)
    if place is not None:
        return place
    if queue.waiting(channel) > MAX_PLACE:
        return Whereabouts.FAR
    return Whereabouts.MISSING if queue.missing(channel, [message_id]) else Whereabouts.CLAIMED


def _pauses_of(model: type[TaskRow]) -> dict[str, OperatorCommand]:
    try:
        with _savepoint(control.command_database()):
            command = control.pause_of(model)
    except Error as error:
        _logger.warning("commands_unreadable error=%s", error)
        return {}
    return {} if command is None else {model._meta.label: command}


def _savepoint(using: str) -> AbstractContextManager[Any]:
    # A query that fails must not spoil the transaction of the caller.
    in_transaction = transaction.get_connection(using).in_atomic_block
    return transaction.atomic(using=using) if in_transaction else nullcontext()

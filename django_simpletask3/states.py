"""The state machine of a task: states, event kinds, and the arrows between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType

from .exceptions import IllegalTransition


class Status(IntEnum):
    """Where a task is in its life; the numbers are stored."""

    PENDING = 0  # waits for a worker
    RUNNING = 10  # a worker holds it, until its lease ends
    SUCCESS = 20  # do_task() returned
    FAILED = 30  # do_task() raised, or the task was given up
    CANCELED = 40  # called off

    @property
    def is_final(self) -> bool:
        """Nothing will happen to the task any more, unless somebody resets it."""
        return self in FINAL


class EventKind(StrEnum):
    """What can happen to a task; the words are stored."""

    ENQUEUE = "enqueue"  # the row was inserted
    START = "start"  # a worker claimed it
    ACK = "ack"  # do_task() returned
    FAIL = "fail"  # do_task() raised, no retry left
    RETRY = "retry"  # do_task() raised, it will be tried again
    RECOVER = "recover"  # its worker or its message was lost; back to the queue
    DROP = "drop"  # its worker was lost and it is given up
    RELEASE = "release"  # a stopping worker gave it back
    CANCEL = "cancel"  # somebody called it off
    RESET = "reset"  # somebody wants it to run again
    REJECT = "reject"  # the late result of a superseded run was refused
    NOTE = "note"  # progress, a checkpoint, an annotation
    HOLD = "hold"  # a legal hold was put on it: nothing of it may be deleted
    LIFT = "lift"  # the hold was taken off
    ERASE = "erase"  # what it returned or raised was erased, and its traces in the events
    DELETE = "delete"  # the row was deleted


FINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELED})
ACTIVE = frozenset({Status.PENDING, Status.RUNNING})
ANY = frozenset(Status)

#: The last words of the worker that holds the task: only the attempt that is running may say them.
FENCED = frozenset({EventKind.ACK, EventKind.FAIL, EventKind.RETRY, EventKind.RELEASE})

#: Kinds that leave evidence and move nothing.
AUDIT_ONLY = frozenset(
    {EventKind.REJECT, EventKind.NOTE, EventKind.HOLD, EventKind.LIFT, EventKind.ERASE}
)

_ARROWS: Mapping[EventKind, tuple[frozenset[Status], Status]] = {
    EventKind.START: (frozenset({Status.PENDING}), Status.RUNNING),
    EventKind.ACK: (frozenset({Status.RUNNING}), Status.SUCCESS),
    EventKind.FAIL: (frozenset({Status.RUNNING}), Status.FAILED),
    EventKind.RETRY: (frozenset({Status.RUNNING}), Status.PENDING),
    EventKind.RECOVER: (ACTIVE, Status.PENDING),
    EventKind.DROP: (ACTIVE, Status.FAILED),
    EventKind.RELEASE: (frozenset({Status.RUNNING}), Status.PENDING),
    EventKind.CANCEL: (ACTIVE, Status.CANCELED),
    EventKind.RESET: (ANY, Status.PENDING),
}


def _table() -> dict[tuple[Status | None, EventKind], Status | None]:
    table: dict[tuple[Status | None, EventKind], Status | None] = {
        (None, EventKind.ENQUEUE): Status.PENDING
    }
    for kind, (sources, target) in _ARROWS.items():
        table.update(((source, kind), target) for source in sources)
    for status in ANY:
        table.update(((status, kind), status) for kind in AUDIT_ONLY)
        table[status, EventKind.DELETE] = None
    return table


#: The whole machine: (status before, kind) -> status after; None is "no row".
TRANSITIONS: Mapping[tuple[Status | None, EventKind], Status | None] = MappingProxyType(_table())


def target(source: Status | None, kind: EventKind) -> Status | None:
    """The status after ``kind`` happened in ``source``; None before birth and after deletion.

    Raises IllegalTransition if the machine has no such arrow.
    """
    try:
        return TRANSITIONS[source, kind]
    except KeyError:
        origin = "a task that does not exist" if source is None else f"a {source.name} task"
        raise IllegalTransition(f"{origin} cannot {kind}.", kind=kind) from None

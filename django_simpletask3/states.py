"""The statuses of a task, the kinds of its events, and what each kind means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

from .exceptions import IllegalTransition


class Status(IntEnum):
    """Where a task is in its life; the numbers are stored."""

    PENDING = 0  # waits for a worker
    BLOCKED = 5  # waits for something else than time or a worker: unblock() sends it on
    RUNNING = 10  # a worker holds it, until its lease ends
    SUCCESS = 20  # the task function returned
    FAILED = 30  # the task function raised, or the task was dropped
    CANCELED = 40  # a user or an operator canceled it, or it expired while it waited

    @property
    def is_final(self) -> bool:
        """Whether only ``reset()`` makes the task run again."""
        return self in FINAL


class EventKind(StrEnum):
    """What can happen to a task; the words are stored. ``EVENTS`` tells what each kind means."""

    ENQUEUE = "enqueue"  # the row was inserted
    START = "start"  # a worker claimed it
    ACK = "ack"  # the task function returned
    FAIL = "fail"  # the task function raised, no retry is left
    RETRY = "retry"  # the task function raised, it will be tried again
    SNOOZE = "snooze"  # the task function asked to be called again later
    RECOVER = "recover"  # its worker or its message was lost; back to the queue
    DROP = "drop"  # its worker was lost too often; it failed
    RELEASE = "release"  # returned to the queue: its worker stops, or was lost through another task
    BLOCK = "block"  # it waits for something else than time or a worker
    UNBLOCK = "unblock"  # what it waited for has happened
    CANCEL = "cancel"  # a user, an operator or the task function canceled it
    EXPIRE = "expire"  # it waited when it expired
    RESET = "reset"  # a user or an operator wants it to run again
    REJECT = "reject"  # the late outcome of a superseded run was refused
    NOTE = "note"  # progress, an annotation
    CHECKPOINT = "checkpoint"  # the task function completed a step, which is not repeated
    HOLD = "hold"  # a legal hold was put on it: nothing of it may be deleted
    LIFT = "lift"  # the hold was lifted
    ERASE = "erase"  # its result and error were erased, from the row and its events
    DELETE = "delete"  # the row was deleted


class Holder(Enum):
    """Whether the attempt that holds the lease records a kind of event (``by_holder``)."""

    NEVER = "never"
    MAY = "may"
    ALWAYS = "always"


class Payload(StrEnum):
    """Reserved keys of an event's ``data``: a kind that carries one overwrites a user's own."""

    RESULT = "result"  # digest and size of the result
    ERROR = "error"  # type and message of the error
    ERASED = "erased"  # the result and the error that the row loses
    VALUE = "value"  # what a completed step of the task function returned


class QueueEffect(Enum):
    """What follows in Redis after the commit of an event."""

    NONE = "none"
    PUSH = "push"  # push a message
    TAKE_OVER = "take over"  # push a message, also if a worker holds the one before
    CANCEL = "cancel"  # remove the message


FINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELED})
#: Tasks that will go on without a reset.
UNFINISHED = frozenset({Status.PENDING, Status.BLOCKED, Status.RUNNING})
#: Tasks that recovery examines once their ``check_at`` has passed.
RECOVERABLE = frozenset({Status.PENDING, Status.RUNNING})
ANY = frozenset(Status)
#: Tasks that have not started.
WAITING = frozenset({Status.PENDING, Status.BLOCKED})
_RUNNING = frozenset({Status.RUNNING})


#: The reason of the ``block`` of a task whose limit was reached, and of its ``unblock``.
LIMIT_REASON = "limit"


@dataclass(frozen=True, slots=True)
class EventSpec:
    """Everything the package knows about one kind of event; every other module reads it here."""

    #: The statuses in which it can happen; None is "no row". Audit-only kinds happen in
    #: ANY, or in RUNNING if only the holder records them.
    sources: frozenset[Status] | frozenset[None]
    #: The status afterwards; None is "no row". Ignored unless ``changes_state``.
    target: Status | None
    #: False for audit-only kinds: of the columns that follow from events, they change only
    #: ``sequence`` and ``digest``.
    changes_state: bool = True
    holder: Holder = Holder.NEVER
    carries: frozenset[Payload] = frozenset()
    #: The row gets a ``result_time``; an attempt has at most one event of such a kind.
    sets_result_time: bool = False
    #: Recovery counts lost claims, which ``max_attempts`` limits, from zero afterwards.
    resets_attempts: bool = False
    #: The retries of a task are counted from zero afterwards.
    resets_retries: bool = False
    queue: QueueEffect = QueueEffect.NONE
    reported_as_recovery: bool = False
    #: Backfill infers it for a row of the status ``target`` that has no events.
    is_inferable: bool = False
    #: The counter of the worker that counts it; "rejected" counts what has none.
    counter: str = ""

    def __post_init__(self) -> None:
        sources = _RUNNING if self.holder is Holder.ALWAYS else ANY
        if not self.changes_state and self.sources != sources:
            raise ValueError(
                "An event that does not change the state can happen in ANY status, and while the "
                "task is RUNNING if only the holder of the lease records it."
            )

    @property
    def ends_attempt(self) -> bool:
        """Whether the function of the attempt does not go on: it has ended, or its worker is lost.

        After a cancel or a reset it may.
        """
        return self.changes_state and (self.holder is Holder.ALWAYS or self.reported_as_recovery)

    @property
    def is_outcome(self) -> bool:
        """Whether the holder of the lease records it when the function has ended."""
        return self.changes_state and self.holder is not Holder.NEVER

    @property
    def ends_waiting(self) -> bool:
        """Whether a task that waits for a worker does so no more, and has not started."""
        is_of_waiting = self.changes_state and not self.sources.isdisjoint(WAITING)
        return is_of_waiting and not self.ends_attempt and self.target is not Status.RUNNING


def _audit_only(
    holder: Holder = Holder.NEVER,
    *,
    carries: frozenset[Payload] = frozenset(),
    reported_as_recovery: bool = False,
) -> EventSpec:
    return EventSpec(
        _RUNNING if holder is Holder.ALWAYS else ANY,
        None,
        changes_state=False,
        holder=holder,
        carries=carries,
        reported_as_recovery=reported_as_recovery,
    )


#: What each kind of event means. A new kind also needs a label (``ledger/fields``), its signals
#: (``signals``), a shape (``admin/task_page/lanes``), a translation, and its rows in
#: docs/reference/events.md and glossary.md; tests fail until it has them.
EVENTS: Mapping[EventKind, EventSpec] = MappingProxyType(
    {
        EventKind.ENQUEUE: EventSpec(
            frozenset({None}),
            Status.PENDING,
            resets_attempts=True,
            resets_retries=True,
            queue=QueueEffect.PUSH,
            is_inferable=True,
        ),
        EventKind.START: EventSpec(frozenset({Status.PENDING}), Status.RUNNING, is_inferable=True),
        EventKind.ACK: EventSpec(
            _RUNNING,
            Status.SUCCESS,
            holder=Holder.ALWAYS,
            carries=frozenset({Payload.RESULT}),
            sets_result_time=True,
            is_inferable=True,
            counter="succeeded",
        ),
        EventKind.FAIL: EventSpec(
            _RUNNING,
            Status.FAILED,
            holder=Holder.ALWAYS,
            carries=frozenset({Payload.ERROR}),
            sets_result_time=True,
            is_inferable=True,
            counter="failed",
        ),
        EventKind.RETRY: EventSpec(
            _RUNNING,
            Status.PENDING,
            holder=Holder.ALWAYS,
            carries=frozenset({Payload.ERROR}),
            resets_attempts=True,
            counter="retried",
        ),
        EventKind.SNOOZE: EventSpec(
            _RUNNING,
            Status.PENDING,
            holder=Holder.ALWAYS,
            resets_attempts=True,
            counter="snoozed",
        ),
        EventKind.RECOVER: EventSpec(
            RECOVERABLE, Status.PENDING, queue=QueueEffect.TAKE_OVER, reported_as_recovery=True
        ),
        EventKind.DROP: EventSpec(
            RECOVERABLE,
            Status.FAILED,
            carries=frozenset({Payload.ERROR}),
            sets_result_time=True,
            queue=QueueEffect.CANCEL,
            reported_as_recovery=True,
        ),
        EventKind.RELEASE: EventSpec(
            _RUNNING, Status.PENDING, holder=Holder.MAY, reported_as_recovery=True
        ),
        EventKind.BLOCK: EventSpec(
            frozenset({Status.PENDING}),
            Status.BLOCKED,
            queue=QueueEffect.CANCEL,
            is_inferable=True,
        ),
        EventKind.UNBLOCK: EventSpec(
            frozenset({Status.BLOCKED}), Status.PENDING, queue=QueueEffect.PUSH
        ),
        EventKind.CANCEL: EventSpec(
            UNFINISHED,
            Status.CANCELED,
            holder=Holder.MAY,
            queue=QueueEffect.CANCEL,
            is_inferable=True,
            counter="canceled",
        ),
        EventKind.EXPIRE: EventSpec(
            WAITING, Status.CANCELED, queue=QueueEffect.CANCEL, counter="canceled"
        ),
        EventKind.RESET: EventSpec(
            ANY,
            Status.PENDING,
            carries=frozenset({Payload.ERASED}),
            resets_attempts=True,
            resets_retries=True,
            queue=QueueEffect.TAKE_OVER,
        ),
        EventKind.REJECT: _audit_only(reported_as_recovery=True),
        EventKind.NOTE: _audit_only(Holder.MAY),
        EventKind.CHECKPOINT: _audit_only(Holder.ALWAYS, carries=frozenset({Payload.VALUE})),
        EventKind.HOLD: _audit_only(),
        EventKind.LIFT: _audit_only(),
        EventKind.ERASE: _audit_only(),
        EventKind.DELETE: EventSpec(ANY, None, queue=QueueEffect.CANCEL),
    }
)


def kinds_where(condition: Callable[[EventSpec], bool]) -> tuple[EventKind, ...]:
    """The kinds of which ``condition`` is true, in the order of ``EVENTS``; compute it once."""
    return tuple(kind for kind, spec in EVENTS.items() if condition(spec))


AUDIT_ONLY = frozenset(kinds_where(lambda spec: not spec.changes_state))
#: Kinds that leave the status as it is, whatever it is, also one that only a newer version knows.
ANYWHERE = frozenset(kinds_where(lambda spec: not spec.changes_state and spec.sources == ANY))


def _transitions() -> dict[tuple[Status | None, EventKind], Status | None]:
    return {
        (source, kind): spec.target if spec.changes_state else source
        for kind, spec in EVENTS.items()
        for source in spec.sources
    }


#: The whole machine: (status before, kind) -> status after; None is "no row".
TRANSITIONS: Mapping[tuple[Status | None, EventKind], Status | None] = MappingProxyType(
    _transitions()
)


def target(source: Status | None, kind: EventKind) -> Status | None:
    """The status after ``kind`` happened in ``source``; None is "no row".

    Raises IllegalTransition if ``kind`` cannot happen there, also for a status or a kind that only
    a newer version knows.
    """
    try:
        return TRANSITIONS[source, kind]
    except KeyError:
        if source is not None and kind in EVENTS and EVENTS[EventKind(kind)].target == source:
            raise IllegalTransition(f"it is {status_name(source)} already.", kind=kind) from None
        task = "a task that does not exist" if source is None else f"a {status_name(source)} task"
        raise IllegalTransition(f"{task} cannot {kind}.", kind=kind) from None


def status_of(number: Any) -> Any:
    """The Status of ``number``, or None; a number that only a newer version knows stays one."""
    return Status(number) if number in ANY else number


def status_name(status: int) -> str:
    """The name of a status; of a number that only a newer version knows, the number."""
    return status.name if isinstance(status, Status) else str(status)

"""What limits do in the transaction of a transition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..db import clock
from ..dispatch.after_commit import RecordedEvent
from ..ledger.event import TaskEvent, is_of_limit
from ..ledger.task_row import TaskRow, all_rows
from ..states import EventKind, Status, kinds_where
from ..transitions import participants
from ..transitions.participants import TransitionParticipant
from . import admission
from .declared import check_key, has_expressions, has_limit, limit_of
from .hand_over import free_places
from .places import Claim, claimed_by, places_of_claims, table_label
from .tables import LimitPlace, LimitWaiter

#: After these the attempt that ran has ended, or its worker is lost.
_ENDS = frozenset(kinds_where(lambda spec: spec.ends_attempt))
#: What the holder of the lease records when its function has ended.
_OUTCOMES = frozenset(kinds_where(lambda spec: spec.is_outcome))
#: After these a task that waited, or was given a place, waits no more, or for something else.
_LEAVES = frozenset(kinds_where(lambda spec: spec.ends_waiting))

#: Reasons of a worker that gives a task up while its function runs, and then ends its process, and
#: how many seconds that takes at most.
_ENDS_WITH_PROCESS = frozenset({"time_limit", "worker_stopping"})
_SECONDS_OF_PROCESS = 5.0


def register() -> None:
    """Let limits take part in the transitions."""
    participants.register(
        TransitionParticipant(
            "limits",
            concerns=has_limit,
            decides=frozenset({EventKind.START}),
            follows=_ENDS | _LEAVES | {EventKind.REJECT},
            before_write=admission.admit,
            check_new=_check_new,
            after_write=_follow,
        )
    )


def _check_new(task: TaskRow) -> None:
    """Raise InvalidKey if the limit cannot make a key of the new ``task``."""
    limit = limit_of(task)
    if limit is not None and not has_expressions(task, limit):
        check_key(task)


def _follow(recorded_events: Sequence[RecordedEvent], using: str) -> None:
    events = [(task, event) for task, event in recorded_events if has_limit(type(task))]
    _leave_line(events, using)
    _give_back_unclaimed(events, using)
    _let_end_soon([_claim(*recorded) for recorded in events if _may_still_run(recorded[1])], using)
    if ended := [claim for task, event in events if (claim := _ended_claim(task, event))]:
        free_places(ended, using)


def _may_still_run(event: TaskEvent) -> bool:
    """Whether the function goes on, until its process has ended: it did not stop when asked to."""
    is_of_worker = event.from_status == Status.RUNNING and event.kind in _ENDS
    if not is_of_worker or event.reason not in _ENDS_WITH_PROCESS:
        return False
    # A function that has stopped by itself says how long it ran.
    return event.kind != EventKind.RELEASE or "seconds" not in (event.data or {})


def _let_end_soon(claims: Sequence[Claim], using: str) -> None:
    """Let the places of these attempts be free when their processes have ended."""
    if places := [place.pk for place in places_of_claims(claims, using)]:
        until = clock.after(using, _SECONDS_OF_PROCESS)
        all_rows(LimitPlace, using).filter(pk__in=places).update(worker="", held_until=until)


def _leave_line(events: Iterable[RecordedEvent], using: str) -> None:
    """Delete the waiters of tasks that are not BLOCKED any more. Their own rows only."""
    left = [
        _claim(task, event)
        for task, event in events
        if event.from_status == Status.BLOCKED and event.kind in _LEAVES
    ]
    if left:
        all_rows(LimitWaiter, using).filter(claimed_by(left))._raw_delete(using)


def _give_back_unclaimed(events: Iterable[RecordedEvent], using: str) -> None:
    """Let the places end that were given to PENDING tasks which do not start now.

    The gate is not locked, because a user may do this in a long transaction: the maintenance job
    gives the place away.
    """
    given = [
        _claim(task, event)._replace(attempt=event.attempt + 1)
        for task, event in events
        if event.from_status == Status.PENDING and _gives_up_place(event)
    ]
    if places := [place.pk for place in places_of_claims(given, using)]:
        all_rows(LimitPlace, using).filter(pk__in=places).update(held_until=clock.now(using))


def is_turned_away(event: TaskEvent) -> bool:
    """Whether ``event`` lets a task wait for its limit."""
    return event.kind == EventKind.BLOCK and is_of_limit(event)


def _gives_up_place(event: TaskEvent) -> bool:
    """Whether a task that may have been given a place does not start; not if it got none."""
    return event.kind in _LEAVES and not is_turned_away(event)


def _ended_claim(task: TaskRow, event: TaskEvent) -> Claim | None:
    """The attempt that has ended by ``event``; None if its function may still run."""
    if event.kind == EventKind.REJECT:
        return _rejected_claim(task, event)
    if event.from_status != Status.RUNNING:
        return None
    if _may_still_run(event):
        return None
    is_raised = event.kind == EventKind.CANCEL and event.worker  # by the task function
    return _claim(task, event) if event.kind in _ENDS or is_raised else None


def _rejected_claim(task: TaskRow, event: TaskEvent) -> Claim | None:
    data = event.data or {}
    attempt = data.get("attempt")
    if data.get("refused") not in _OUTCOMES or not isinstance(attempt, int):
        return None
    return _claim(task, event)._replace(attempt=attempt)


def _claim(task: TaskRow, event: TaskEvent) -> Claim:
    return Claim(table_label(task), str(event.task_id), event.attempt)

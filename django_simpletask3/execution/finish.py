"""Record how runs ended, in batches, then settle their messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from ..db.errors import is_transient, may_be_transient
from ..dispatch.push import push
from ..limits.declared import has_limit
from ..limits.hand_over import free_ended
from ..limits.places import Claim, table_label
from ..limits.successors import Successors, starting_here
from ..logs import get_logger
from ..queue import Message, outage
from ..states import EventKind
from ..transitions.best_effort import apply_each
from .outcomes.decision import decide, fail_with_both
from .run import Run, failure_of, outcome_of
from .settle import acknowledge, return_messages

_logger = get_logger(__name__)


def finish(runs: Sequence[Run], successors: Successors | None = None) -> list[Run]:
    """Record the outcomes of ``runs`` together, then settle their messages; the runs not recorded.

    ``successors`` start the tasks that waited for the places of ``runs`` in their limits, if this
    process can; without them, messages are pushed for these.

    A run whose outcome cannot be written fails instead. Transient database errors are raised if
    nothing could be recorded, and the same call can be made again: no outcome is recorded twice. A
    run that is returned has its ``transition.error``: if that is transient, finish it again;
    otherwise not even its failure can be written: stop renewing its lease.
    """
    for run in runs:
        _decide(run)
    with starting_here(successors):
        _record(runs)
    if successors is not None:
        successors.confirm()
    _settle(runs, tells_ends=successors is not None)
    return [run for run in runs if run.transition and run.transition.error]


def _record(runs: Sequence[Run]) -> None:
    """Record the outcomes, and free the places of the runs in their limits."""
    _apply_outcomes(runs)
    unwritable = [run for run in runs if _has_permanent_error(run)]
    for run in unwritable:
        _replace_by_failure(run)
    if unwritable:
        _apply_outcomes(unwritable)
    _free_places(runs)


def _apply_outcomes(runs: Sequence[Run]) -> None:
    transitions = (t for run in runs for t in (run.transition, run.expiry))
    apply_each([transition for transition in transitions if transition is not None])


def _has_permanent_error(run: Run) -> bool:
    error = run.transition.error if run.transition else None
    return error is not None and not is_transient(error)


def _free_places(runs: Iterable[Run]) -> None:
    """Free the places in limits of the runs that have ended without an event.

    Never raises: a place that is not freed here ends with its lease.
    """
    ended: dict[str, list[Claim]] = {}
    for run in runs:
        transition = run.transition
        if transition and not (transition.event or transition.error) and has_limit(type(run.task)):
            claim = Claim(table_label(run.task), str(run.pk), run.attempt)
            ended.setdefault(run.using, []).append(claim)
    for using, claims in ended.items():
        try:
            free_ended(claims, using)
        except Exception as error:
            _logger.warning("place_not_freed tasks=%s error=%s", len(claims), error)


def _settle(runs: Sequence[Run], *, tells_ends: bool) -> None:
    """Acknowledge the messages of recorded runs: as succeeded after ``ack``, else as failed.

    Tasks whose functions have stopped for the sake of the worker are returned to the queue. With
    ``tells_ends``, who waits for tasks that have run without a message learns of their ends.
    """
    messages: dict[bool, list[Message]] = {True: [], False: []}
    released: dict[str, list[Run]] = {}
    for run in runs:
        transition = run.transition
        if transition is None:
            continue
        if _is_released(run):
            released.setdefault(transition.reason, []).append(run)
        elif transition.error is None:
            message = run.message or (_message_of(run) if tells_ends else None)
            if message:
                messages[transition.kind is EventKind.ACK].append(message)
    for result, group in messages.items():
        acknowledge(group, result=result)
    for reason, returned in released.items():
        _return_to_queue(returned, reason)


def _message_of(run: Run) -> Message | None:
    """What tells who waits for the end of a task with a limit, which has started without a message.

    Its own was removed when it was turned away. None in an outage of Redis, which would delay those
    that come next: who waits looks once a second.
    """
    if outage.is_on:
        return None
    with suppress(Exception):  # of a method of the user's
        return Message(run.task.get_task_id(), run.task.get_event_channel(), "", None)
    return None


def release(runs: Iterable[Run], reason: str) -> list[Run]:
    """Return unfinished tasks to the head of the queue, PENDING again; the runs released.

    A run that another attempt has superseded is left out.
    """
    transitions = {run: outcome_of(run, EventKind.RELEASE, reason=reason) for run in runs}
    apply_each(list(transitions.values()))
    released = [run for run, transition in transitions.items() if transition.event is not None]
    _return_to_queue(released, reason)
    return released


def _is_released(run: Run) -> bool:
    event = run.last_transition.event if run.last_transition else None
    return event is not None and event.kind == EventKind.RELEASE


def _return_to_queue(runs: Sequence[Run], reason: str) -> None:
    """Return the messages of released ``runs`` to the head of the queue; push those without one."""
    return_messages([run.message for run in runs if run.message], reason)
    push([run.task for run in runs if not run.message], urgent=True)


def _decide(run: Run) -> None:
    """Decide what follows from an error, if the thread of the task function could not."""
    try:
        decide(run)
    except Exception as error:
        if may_be_transient(error):
            raise
        fail_with_both(run, error)


def _replace_by_failure(run: Run) -> None:
    """Let the run fail with the error that kept its outcome from being written."""
    error = run.transition.error if run.transition else None
    # If the function has not failed, its failure is logged with this error.
    traceback = error if run.error is not None else None
    label = run.task._meta.label
    _logger.error("finish_failed model=%s pk=%s error=%s", label, run.pk, error, exc_info=traceback)
    if error is not None:
        run.transition = failure_of(run, error)
        run.undecided = None  # it is not tried again

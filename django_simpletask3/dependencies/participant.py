"""What transitions of prerequisites and dependents change of groups, in their transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models

from ..ledger.event import is_of_limit
from ..ledger.task_row import TaskRow, table_model
from ..states import EVENTS, FINAL, EventKind, Status, kinds_where
from ..transitions import participants
from ..transitions.participants import TransitionParticipant
from .counting import count
from .methods import DEPENDENTS
from .serving import serve_after_commit, serve_at_once
from .tables import (
    DependentState,
    LinkState,
    OnFailure,
    dependents_of,
    groups_of,
    has_prerequisite_models,
    links_of,
    lock_rows,
    may_be_prerequisite,
    set_link_state,
)

if TYPE_CHECKING:
    from ..ledger.event import TaskEvent

_RecordedEvents = Sequence[tuple[TaskRow, "TaskEvent"]]

#: Links that are counted in the transaction of the end.
_MAX_AT_ONCE = 500
#: By workers and maintenance jobs, which may lock groups.
_ENDS = {
    kind: LinkState.SUCCEEDED if EVENTS[kind].target is Status.SUCCESS else LinkState.FAILED
    for kind in kinds_where(lambda spec: spec.changes_state and spec.target in FINAL)
    if kind is not EventKind.CANCEL  # which users record
}
#: After these a dependent does not wait any more.
_LEAVES = frozenset(kinds_where(lambda spec: spec.changes_state and Status.BLOCKED in spec.sources))
_MARKED_AS = {
    LinkState.SUCCEEDED: LinkState.HAS_SUCCEEDED,
    LinkState.FAILED: LinkState.HAS_FAILED,
}


def register() -> None:
    """Let prerequisites and dependents take part in transitions."""
    prerequisites = TransitionParticipant(
        "prerequisites",
        concerns=may_be_prerequisite,
        follows=frozenset({*_ENDS, EventKind.CANCEL, EventKind.DELETE, EventKind.RESET}),
        after_write=_follow_prerequisites,
    )
    dependents = TransitionParticipant(
        "dependents",
        concerns=lambda _model: has_prerequisite_models(),
        follows=_LEAVES,
        sources=frozenset({Status.BLOCKED}),
        after_write=_follow_dependents,
    )
    participants.register(prerequisites)
    participants.register(dependents)


def _follow_prerequisites(recorded_events: _RecordedEvents, using: str) -> None:
    """Count the ends of tasks of one table, or mark them to be counted after the commit."""
    ended: dict[str, LinkState] = {}
    marked: list[str] = []
    reset: dict[str, bool] = {}
    for _, event in recorded_events:
        key = str(event.task_id)
        # A worker records the Cancel that a task function has raised.
        if event.kind in _ENDS or (event.kind == EventKind.CANCEL and event.worker):
            ended[key] = _ENDS.get(event.kind, LinkState.FAILED)
        elif event.kind in (EventKind.CANCEL, EventKind.DELETE):
            marked.append(key)
        elif event.kind == EventKind.RESET:
            reset[key] = (event.data or {}).get(DEPENDENTS) is True
    label = table_model(type(recorded_events[0][0]))._meta.label
    links = links_of(using).filter(model=label)
    if ended:
        _count_ends(links, ended, using)
    if marked:
        failed = links.filter(task_key__in=marked, state=LinkState.OPEN)
        _mark(failed, LinkState.HAS_FAILED)
    if reset:
        _follow_resets(links, reset)


def _follow_resets(links: models.QuerySet[Any], reset: Mapping[str, bool]) -> None:
    """Let dependents wait again; canceled ones only of the keys whose value is true."""
    _reopen(links, list(reset), OnFailure.WAIT)
    if with_dependents := [key for key, has_dependents in reset.items() if has_dependents]:
        canceling = _reopen(links, with_dependents, OnFailure.CANCEL)
        _mark(canceling.filter(state=LinkState.FAILED), LinkState.WAS_RESET)


def _reopen(
    links: models.QuerySet[Any], keys: Sequence[str], on_failure: OnFailure
) -> models.QuerySet[Any]:
    """Take back marks that were not counted yet, as if the tasks had not ended; their links.

    Else a success that comes before the count would be missed, or dependents be canceled although
    their prerequisite waits.
    """
    groups = groups_of(links.db).filter(on_failure=on_failure)
    found = links.filter(task_key__in=keys, group__in=groups)
    set_link_state(found.filter(state=LinkState.HAS_FAILED), LinkState.OPEN)
    return found


def _count_ends(links: models.QuerySet[Any], ended: dict[str, LinkState], using: str) -> None:
    counted = models.Q(state=LinkState.OPEN)
    if succeeded := [key for key, end in ended.items() if end is LinkState.SUCCEEDED]:
        # After a failure, dependents may wait until the task has succeeded.
        counted |= models.Q(state=LinkState.FAILED, task_key__in=succeeded)
    to_lock = links.filter(counted, task_key__in=ended)
    found = lock_rows(to_lock, limit=_MAX_AT_ONCE + 1)
    if len(found) > _MAX_AT_ONCE:
        mark_ends(links, ended)
    elif found:
        serve_at_once(count([(link, ended[link.task_key]) for link in found], using), using)


def mark_ends(links: models.QuerySet[Any], ended: dict[str, LinkState]) -> None:
    """Leave links to be counted in batches after the commit."""
    for end, mark in _MARKED_AS.items():
        keys = [key for key, state in ended.items() if state is end]
        _mark(links.filter(task_key__in=keys, state=LinkState.OPEN), mark)
        if end is LinkState.SUCCEEDED:
            # By its status it is known that it has succeeded.
            waiting = groups_of(links.db).filter(on_failure=OnFailure.WAIT)
            failed = links.filter(task_key__in=keys, state=LinkState.FAILED, group__in=waiting)
            _mark(failed, LinkState.WAS_RESET)


def _mark(links: models.QuerySet[Any], state: LinkState) -> None:
    if set_link_state(links, state):
        serve_after_commit(links.db)


def _follow_dependents(recorded_events: _RecordedEvents, using: str) -> None:
    """Record that blocked tasks wait for their groups no longer, unless a group released them.

    A task that was given a place of its limit has waited for that.
    """
    keys = [
        str(event.task_id)
        for _, event in recorded_events
        if event.from_status == Status.BLOCKED
        and "group" not in (event.data or {})
        and not is_of_limit(event)
    ]
    if keys:
        label = table_model(type(recorded_events[0][0]))._meta.label
        waiting = dependents_of(using).filter(
            model=label, task_key__in=keys, state=DependentState.WAITING
        )
        waiting.update(state=DependentState.LEFT)

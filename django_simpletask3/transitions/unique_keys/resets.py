"""Take the unique keys again for tasks that are reset; refuse those whose keys are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import IntegrityError, connections

from ...exceptions import InvalidKey
from ...ledger.task_row import has_unique_key, table_model
from ...states import EventKind
from ..participants import TransitionParticipant
from .compute import key_of
from .holders import duplicate_of, find

if TYPE_CHECKING:
    from ...db.locked_rows import LockedRows
    from ...ledger.task_row import TaskRow
    from ..transition import Transition

#: How often a reset is tried while others take the key, and free it again.
_ATTEMPTS = 10


def takes_key(transition: Transition) -> bool:
    """Whether the task of ``transition`` takes its key again."""
    return transition.kind is EventKind.RESET and has_unique_key(type(transition.task))


def apply_unless_taken(
    transitions: Sequence[Transition], using: str, apply: Callable[[Sequence[Transition]], None]
) -> None:
    """Call ``apply``; if a key was taken meanwhile, refuse its transition and apply the others."""
    for _ in range(_ATTEMPTS):
        try:
            apply(transitions)
            return
        except IntegrityError as error:
            if connections[using].needs_rollback:
                raise  # there was no savepoint
            remaining = _refuse_taken(transitions, using)
            # Else its holder has ended meanwhile: try again.
            if len(remaining) == len(transitions) and "unique_key" not in str(error):
                raise
            if not remaining:
                return
            transitions = remaining
    apply(transitions)


def _refuse_taken(transitions: Sequence[Transition], using: str) -> list[Transition]:
    """Refuse the transitions whose keys others have by now; the remaining ones."""
    keys = {id(t): t.values.get("unique_key") for t in transitions if takes_key(t)}
    known_keys = [key for key in keys.values() if key is not None]
    if not known_keys:
        return list(transitions)
    found = find(table_model(type(transitions[0].task)), using, known_keys, is_locking=True)
    return [t for t in transitions if not _refuse_if_taken(t, keys.get(id(t)), found)]


def _take_keys(
    transitions: Sequence[Transition], rows: LockedRows, using: str
) -> Sequence[Transition]:
    """Compute the keys of the tasks that are reset, and refuse those whose keys are taken."""
    keys: dict[int, UUID | None] = {}
    for transition in transitions:
        row = rows.get(transition.task.pk) if takes_key(transition) else None
        if row is not None and not transition.mismatches(row):
            _compute_key(transition, row, keys)
    known_keys = {key for key in keys.values() if key is not None}
    transitions = [t for t in transitions if not isinstance(t.refusal, InvalidKey)]
    if not known_keys:
        return transitions
    found = find(table_model(type(transitions[0].task)), using, known_keys)
    return [t for t in transitions if not _refuse_if_taken(t, keys.get(id(t)), found)]


def _compute_key(
    transition: Transition, row: Mapping[str, Any], keys: dict[int, UUID | None]
) -> None:
    """Add the key of the task of ``transition`` to ``keys``, or refuse it if there can be none."""
    try:
        keys[id(transition)] = key = key_of(type(transition.task), row)
    except InvalidKey as error:
        error.pk, error.kind = transition.task.pk, transition.kind
        transition.event, transition.refusal = None, error
        return
    transition.values = {**transition.values, "unique_key": key}


def _refuse_if_taken(
    transition: Transition, key: UUID | None, holders: dict[UUID, TaskRow]
) -> bool:
    """Refuse ``transition`` if another task has ``key``; else that of this task is noted.

    So the second of two transitions that take the same key is refused, too.
    """
    if key is None:
        return False
    holder = holders.setdefault(key, transition.task)
    if holder.pk == transition.task.pk:
        return False
    pk, kind = transition.task.pk, transition.kind
    transition.event, transition.refusal = (
        None,
        duplicate_of(holder, transition.task, pk=pk, kind=kind),
    )
    return True


PARTICIPANT = TransitionParticipant(
    "unique_keys",
    concerns=has_unique_key,
    decides=frozenset({EventKind.RESET}),
    before_write=_take_keys,
)

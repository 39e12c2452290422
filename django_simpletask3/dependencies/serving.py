"""Release, cancel or block again the dependents of groups, in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.db import connections, transaction

from ..context import TaskContext, lazy_context
from ..db.conflicts import is_conflict, repeat_on_conflict
from ..db.errors import may_be_transient
from ..db.locks import begin_write
from ..ledger.task_row import TaskRow, known_tables, table_model
from ..logs import get_logger
from ..states import EventKind, Status
from ..transitions.best_effort import apply_each
from ..transitions.transition import Transition
from .counting import count_marked
from .loading import load_by_key
from .tables import (
    DependentState,
    GroupState,
    OnFailure,
    PrerequisiteGroup,
    TaskDependent,
    dependents_of,
    groups_of,
    lock_rows,
)

_logger = get_logger(__name__)

#: Dependents in one transaction.
_BATCH_SIZE = 500
_MAX_GROUPS = 5000
#: Dependents that are released together with the last prerequisite.
#: The reason of the ``cancel`` of a task that a prerequisite failed for.
PREREQUISITE_FAILED = "prerequisite_failed"
_MAX_AT_ONCE = 100
#: How long a process goes on after the commit by which it has opened a group.
_SECONDS_AFTER_COMMIT = 0.5
#: The databases of which ``serve`` runs: it goes on until nothing is left.
_served_databases: ContextVar[frozenset[str]] = ContextVar("served", default=frozenset())

#: Of the events of dependents that are served after a commit, or by a maintenance job.
_CONTEXT = TaskContext(actor="dependencies")

#: Label and key of a task.
_Key = tuple[str, str]
_Pair = tuple[TaskDependent, TaskRow]
#: The model of the table, what is done, and the state of the dependents afterwards.
_Step = tuple[type[TaskRow], EventKind, DependentState]


def serve_after_commit(using: str) -> None:
    """Call ``serve`` after the commit; if the process is killed before, maintenance does it."""
    if using not in _served_databases.get():
        transaction.on_commit(partial(_serve_quietly, using), using=using, robust=True)


def _serve_quietly(using: str) -> None:
    try:
        serve(using, seconds=_SECONDS_AFTER_COMMIT)
    except Exception as error:
        # A maintenance job does it later.
        _logger.warning("dependents_not_served database=%s error=%s", using, error)


def serve(using: str, *, seconds: float) -> int:
    """Count marked ends and serve groups until nothing is left, for so many ``seconds``.

    Works in batches, each in a transaction, and without recursion: canceled dependents may be
    prerequisites of others. Returns how many links and dependents were served; 0 means that nothing
    is left but what other transactions have locked.
    """
    latest, total = time.monotonic() + seconds, 0
    token = _served_databases.set(_served_databases.get() | {using})
    try:
        # Others have ended what is found here: it is not what the current actor does.
        with lazy_context(lambda: _CONTEXT):
            while (served := _serve_once(using, latest)) and time.monotonic() < latest:
                total += served
        return total + served
    finally:
        _served_databases.reset(token)


def _serve_once(using: str, latest: float) -> int:
    total = repeat_on_conflict(using, partial(count_marked, using))
    to_serve = groups_of(using).filter(state=GroupState.TO_BE_SERVED)
    for group_id in list(to_serve.order_by("add_time").values_list("id", flat=True)[:_MAX_GROUPS]):
        if total and time.monotonic() >= latest:
            break
        total += _serve_group(group_id, using)
    return total


def _serve_group(group_id: int, using: str) -> int:
    """Serve one batch of a group; an error that is no conflict does not hold up other groups."""
    try:
        return repeat_on_conflict(using, partial(_serve_batch, group_id, using))
    except Exception as error:
        if may_be_transient(error) or connections[using].needs_rollback:
            raise
        _logger.warning("dependents_not_served database=%s error=%s", using, error)
        return 0


def _serve_batch(group_id: int, using: str) -> int:
    with transaction.atomic(using=using):
        begin_write(PrerequisiteGroup, using)
        served, is_last = 0, True
        for group in groups_of(using).filter(id=group_id):
            to_serve = _to_be_served(group, using).filter(model__in=known_tables())
            dependents = lock_rows(to_serve, limit=_BATCH_SIZE, skip_locked=True)
            served = serve_dependents([group], dependents, using)
            is_last = len(dependents) < _BATCH_SIZE
    if is_last:
        with transaction.atomic(using=using):
            begin_write(PrerequisiteGroup, using)
            finish(lock_rows(groups_of(using).filter(id=group_id)), using)
    return served


def serve_at_once(groups: Sequence[PrerequisiteGroup], using: str) -> None:
    """Release the dependents of ``groups``, which are locked, in this transaction.

    Dependents that have to be canceled, or are more than a hundred, and those whose release fails,
    are left to ``serve`` after the commit.
    """
    to_release = [group for group in groups if not _is_failed(group)]
    if to_release and not _release_at_once(to_release, using):
        to_release = []
    if len(to_release) < len(groups) or any(g.state != GroupState.SERVED for g in to_release):
        serve_after_commit(using)


def _release_at_once(groups: Sequence[PrerequisiteGroup], using: str) -> bool:
    ids = [group.pk for group in groups]
    waiting = dependents_of(using).filter(group__in=ids, state=DependentState.WAITING)
    waiting = waiting.filter(model__in=known_tables())  # the others are left to newer nodes
    dependents = lock_rows(waiting, limit=_MAX_AT_ONCE + 1, skip_locked=True)
    if len(dependents) > _MAX_AT_ONCE:
        return False
    try:
        with transaction.atomic(using=using):
            serve_dependents(groups, dependents, using)
            finish(groups, using)
    except Exception as error:
        # The end of the prerequisite must be recorded all the same
        # (test_an_end_is_recorded_also_if_no_dependent_can_be_released).
        # But if the session was cut, or the transaction rolled back, that end is lost, too.
        if is_conflict(error) or connections[using].needs_rollback:
            raise
        _logger.warning("dependents_not_served database=%s error=%s", using, error)
        return False
    return True


def finish(groups: Iterable[PrerequisiteGroup], using: str) -> None:
    """Record of which of ``groups``, which are locked, nothing is left to do."""
    for group in groups:
        if group.state == GroupState.TO_BE_SERVED and not _to_be_served(group, using).exists():
            is_served = _is_failed(group) or not group.missing
            group.state = GroupState.SERVED if is_served else GroupState.WAITING
            group.save(using=using, update_fields=["state"])


def _is_failed(group: PrerequisiteGroup) -> bool:
    """Whether the dependents of ``group`` have to be canceled."""
    return group.failed > 0 and group.on_failure == OnFailure.CANCEL


def _to_be_served(group: PrerequisiteGroup, using: str) -> Any:
    """The dependents of ``group`` with which something has to be done."""
    states = {DependentState.WAITING} if _is_failed(group) or not group.missing else set()
    if not _is_failed(group):
        states.add(DependentState.CANCELED)
    return dependents_of(using).filter(group=group.pk, state__in=states)


def serve_dependents(
    groups: Iterable[PrerequisiteGroup], dependents: Sequence[TaskDependent], using: str
) -> int:
    """Release, cancel or block again ``dependents``, which are locked; returns how many.

    Tasks whose rows another transaction has locked are skipped. A task that is not as it was when
    it began to wait, or to which something else happened since, is left alone from now on.
    """
    groups_by_id = {group.pk: group for group in groups}
    tasks, unreadable = _load([(d.model, d.task_key) for d in dependents], using)
    left = [d for d in dependents if (d.model, d.task_key) not in tasks.keys() | unreadable]
    served: dict[DependentState, list[TaskDependent]] = {DependentState.LEFT: left}
    by_step: dict[_Step, list[_Pair]] = {}
    for dependent in dependents:
        if (task := tasks.get((dependent.model, dependent.task_key))) is not None:
            step = _step_of(groups_by_id[dependent.group_id], dependent)
            by_step.setdefault((table_model(type(task)), *step), []).append((dependent, task))
    for (_, kind, state), pairs in by_step.items():
        applied, refused = _apply(kind, pairs, groups_by_id)
        if kind is EventKind.RESET:
            applied, _ = _apply(EventKind.BLOCK, applied, groups_by_id)
        served.setdefault(state, []).extend(dependent for dependent, _ in applied)
        left += [dependent for dependent, _ in refused]
    return sum(_set_state(found, state, using) for state, found in served.items() if found)


def _load(keys: Sequence[_Key], using: str) -> tuple[dict[_Key, TaskRow], set[_Key]]:
    """The tasks with these keys, and the keys of those that cannot be loaded, which is logged."""
    try:
        return load_by_key(keys, using), set()
    except Exception as error:
        if may_be_transient(error) or connections[using].needs_rollback:
            raise
        if len(keys) > 1:
            parts = [_load([key], using) for key in keys]
            tasks = {key: task for part, _ in parts for key, task in part.items()}
            return tasks, set().union(*(unreadable for _, unreadable in parts))
        _logger.warning("dependents_not_served database=%s error=%s", using, error)
        return {}, set(keys)


def _step_of(
    group: PrerequisiteGroup, dependent: TaskDependent
) -> tuple[EventKind, DependentState]:
    """What has to be done with a dependent, and its state afterwards."""
    if _is_failed(group):
        return EventKind.CANCEL, DependentState.CANCELED
    if dependent.state == DependentState.CANCELED:
        return EventKind.RESET, DependentState.WAITING
    return EventKind.UNBLOCK, DependentState.RELEASED


def _apply(
    kind: EventKind, pairs: Sequence[_Pair], groups: Mapping[int, PrerequisiteGroup]
) -> tuple[list[_Pair], list[_Pair]]:
    """Apply ``kind`` to tasks of one table: to which it was applied, and which are refused."""
    transitions = [_transition(kind, task, groups[d.group_id]) for d, task in pairs]
    if transitions:
        apply_each(transitions)
    results = list(zip(pairs, transitions, strict=True))
    applied = [pair for pair, transition in results if transition.event is not None]
    refused = [pair for pair, transition in results if transition.refusal is not None]
    return applied, refused


def _transition(kind: EventKind, task: TaskRow, group: PrerequisiteGroup) -> Transition:
    data: dict[str, Any] = {"group": group.pk}
    from_blocked = partial(Transition, task, kind, data=data, expected={"status": Status.BLOCKED})
    if kind is EventKind.UNBLOCK:
        return from_blocked(reason="prerequisites_ended")
    if kind is EventKind.CANCEL:
        return from_blocked(reason=PREREQUISITE_FAILED)
    if kind is EventKind.BLOCK:
        return Transition(task, kind, reason="prerequisite_reset", data=data)
    # What depends on it in turn waits again, too.
    return Transition(
        task,
        kind,
        reason="prerequisite_reset",
        data={"group": group.pk, "dependents": True},
        values={"run_after": None},
        expected={"status": Status.CANCELED},
    )


def _set_state(dependents: Sequence[TaskDependent], state: DependentState, using: str) -> int:
    ids = [dependent.pk for dependent in dependents]
    return int(dependents_of(using).filter(id__in=ids).update(state=state))

"""Insert tasks together with what they wait for: groups, prerequisites, dependents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models.signals import post_save, pre_save

from ..batches import batches
from ..db import clock
from ..db.conflicts import repeat_on_conflict
from ..exceptions import TaskGone
from ..ledger.task_row import all_rows, has_unique_key, table_model, task_name, write_database
from ..signals import event_recorded
from ..states import EventKind, Status
from ..transitions import writer
from ..transitions.restore import restore_on_error
from ..transitions.transition import Transition
from . import cleanup
from .counting import link_state
from .methods import Awaited
from .participant import mark_ends
from .serving import serve_after_commit
from .tables import (
    DependentState,
    GroupState,
    LinkState,
    OnFailure,
    PrerequisiteGroup,
    TaskDependent,
    TaskPrerequisite,
    dependents_of,
    groups_of,
    key_of,
    links_of,
)

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_BATCH_SIZE = 500
#: Why a dependent is blocked.
REASON = "prerequisites"

#: Label of the table's model and key: two instances may be of the same row.
_Key = tuple[str, str]
_Statuses = Mapping[_Key, Status]


def has_prerequisites(task: TaskRow) -> bool:
    """Whether ``after()`` was called for the unsaved ``task``."""
    return vars(task).get("_awaited") is not None


def await_tasks(
    dependents: Iterable[TaskRow], prerequisites: Iterable[TaskRow], on_failure: str
) -> None:
    """Let the unsaved ``dependents`` wait for ``prerequisites``, as one group.

    Raises ValueError if one of them waits for others already.
    """
    awaited = Awaited.of(prerequisites, on_failure)
    for task in dependents:
        if has_prerequisites(task):
            raise ValueError(f"{task_name(task)} waits for other tasks: after() was called.")
        vars(task)["_awaited"] = awaited


def enqueue_all(tasks: Sequence[TaskRow], using: str) -> None:
    """Insert the new ``tasks``, of any models, with what they wait for, in one transaction."""
    insert = partial(_insert_by_model, tasks, using)
    if any(map(has_prerequisites, tasks)):
        enqueue(tasks, using, insert)
    else:
        repeat_on_conflict(using, insert)


def _insert_by_model(tasks: Sequence[TaskRow], using: str) -> None:
    by_model: dict[type[TaskRow], list[TaskRow]] = {}
    for task in tasks:
        by_model.setdefault(type(task), []).append(task)
    with _in_transaction(tasks, using):
        for model, of_model in by_model.items():
            model._insert_many(of_model, using)


def enqueue(tasks: Sequence[TaskRow], using: str, insert: Callable[[], object]) -> None:
    """Insert ``tasks`` by calling ``insert``, with what they wait for, in one transaction.

    Locks those prerequisites that exist already, until the transaction ends, and appends a ``note``
    to their streams: a worker that finishes one meanwhile reads it again. Raises ValueError if one
    is in another database, TaskGone if it was deleted.
    """
    if not any(map(has_prerequisites, tasks)):
        insert()
        return
    repeat_on_conflict(using, partial(_enqueue, tasks, using, insert))


def _enqueue(tasks: Sequence[TaskRow], using: str, insert: Callable[[], object]) -> None:
    waiting = [(task, vars(task).pop("_awaited")) for task in tasks if has_prerequisites(task)]
    try:
        with _in_transaction(tasks, using):
            _insert_with_groups(waiting, tasks, using, insert)
    except BaseException:
        for task, awaited in waiting:
            vars(task)["_awaited"] = awaited  # the caller may repeat it
        raise


@contextmanager
def _in_transaction(tasks: Sequence[TaskRow], using: str) -> Iterator[None]:
    # DuplicateTask does no harm to a transaction around it.
    savepoint = any(has_unique_key(type(task)) for task in tasks)
    with restore_on_error(tasks), transaction.atomic(using=using, savepoint=savepoint):
        yield


def _insert_with_groups(
    waiting: Sequence[tuple[TaskRow, Awaited]],
    tasks: Sequence[TaskRow],
    using: str,
    insert: Callable[[], object],
) -> None:
    new = set(map(id, tasks))
    all_awaited = {id(awaited): awaited for _, awaited in waiting}
    existing = [t for each in all_awaited.values() for t in each.tasks if id(t) not in new]
    statuses = _lock_existing(existing, using)
    groups = {key: _new_group(each, statuses, using) for key, each in all_awaited.items()}
    _insert_groups(groups.values(), using)
    dependents = [(task, groups[id(awaited)]) for task, awaited in waiting]
    with_chosen_key = [task for task, _ in dependents if task.pk is not None]
    _insert_blocked(dependents, insert)
    _insert_links([(groups[key], each) for key, each in all_awaited.items()], statuses, using)
    cleanup.delete_dependents(map(_key, with_chosen_key), using)  # of deleted tasks
    _insert_dependents(dependents, using)
    if any(map(_has_receivers, set(map(type, tasks)))):
        _mark_ended((task for each in all_awaited.values() for task in each.tasks), using)
    if any(group.state == GroupState.TO_BE_SERVED for group in groups.values()):
        serve_after_commit(using)


def _lock_existing(tasks: Iterable[TaskRow], using: str) -> _Statuses:
    """Lock the rows of these tasks; their statuses, which cannot change now."""
    by_table: dict[type[TaskRow], dict[str, TaskRow]] = {}
    for task in tasks:
        if (database := write_database(task)) != using:
            raise ValueError(
                f"{task_name(task)} is in the database {database!r}, and the task that waits for "
                f"it in {using!r}: use one database."
            )
        by_table.setdefault(table_model(type(task)), {})[key_of(task)] = task
    statuses: dict[_Key, Status] = {}
    for root in sorted(by_table, key=lambda root: root._meta.label):
        to_lock = sorted(by_table[root].items(), key=lambda item: root._meta.pk.to_python(item[0]))
        for batch in batches(to_lock, _BATCH_SIZE):
            _add_notes([task for _, task in batch], using)
            statuses |= {(root._meta.label, key): Status(task.status) for key, task in batch}
    return statuses


def _add_notes(tasks: Iterable[TaskRow], using: str) -> None:
    notes = [Transition(task, EventKind.NOTE, reason="dependent_added") for task in tasks]
    writer.apply_all(notes, using=using, savepoint=False)
    for note in notes:
        if note.refusal is not None:
            raise note.refusal


def _new_group(awaited: Awaited, statuses: _Statuses, using: str) -> PrerequisiteGroup:
    saved = {key for task in awaited.tasks if not task._state.adding for key in [_key(task)]}
    states = [link_state(statuses[key]) for key in saved]
    unsaved_count = sum(task._state.adding for task in awaited.tasks)
    failed = states.count(LinkState.FAILED)
    missing = unsaved_count + states.count(LinkState.OPEN)
    missing += failed if awaited.on_failure == OnFailure.WAIT else 0
    state = GroupState.WAITING if missing else GroupState.SERVED
    if failed and awaited.on_failure == OnFailure.CANCEL:
        state = GroupState.TO_BE_SERVED
    return PrerequisiteGroup(
        missing=missing,
        failed=failed,
        on_failure=awaited.on_failure,
        state=state,
        add_time=clock.now(using),
    )


def _key(task: TaskRow) -> _Key:
    if task.pk is None:
        raise TaskGone(f"{task_name(task)} was deleted, and tasks depend on each other.")
    return (table_model(type(task))._meta.label, key_of(task))


def _insert_groups(groups: Iterable[PrerequisiteGroup], using: str) -> None:
    if connections[using].features.can_return_rows_from_bulk_insert:
        groups_of(using).bulk_create(groups, batch_size=_BATCH_SIZE)
        return
    for group in groups:
        group.save(using=using, force_insert=True)


def _insert_blocked(
    dependents: Sequence[tuple[TaskRow, PrerequisiteGroup]], insert: Callable[[], object]
) -> None:
    """Insert the tasks by ``insert``; those that wait for nothing are not blocked at all."""
    for task, group in dependents:
        if task._is_enqueued_blocked:
            raise ValueError("A task is enqueued either blocked or after others, not both.")
        if group.state != GroupState.SERVED:
            vars(task).update(_is_enqueued_blocked=REASON, _block_data={"group": group.pk})
    try:
        insert()
    finally:
        for task, _ in dependents:
            vars(task).pop("_is_enqueued_blocked", None)
            vars(task).pop("_block_data", None)


def _insert_links(
    groups: Iterable[tuple[PrerequisiteGroup, Awaited]], statuses: _Statuses, using: str
) -> None:
    links = [
        TaskPrerequisite(group=group, model=key[0], task_key=key[1], state=_state_of(key, statuses))
        for group, awaited in groups
        for key in dict.fromkeys(map(_key, awaited.tasks))
    ]
    links_of(using).bulk_create(links, batch_size=_BATCH_SIZE)


def _state_of(key: _Key, statuses: _Statuses) -> LinkState:
    return link_state(statuses[key]) if key in statuses else LinkState.OPEN


def _has_receivers(model: type[TaskRow]) -> bool:
    """Whether other code runs while tasks of ``model`` are inserted."""
    return any(signal.has_listeners(model) for signal in (pre_save, post_save, event_recorded))


def _mark_ended(prerequisites: Iterable[TaskRow], using: str) -> None:
    """Let prerequisites be counted that receivers have ended before there were links to them."""
    by_table: dict[type[TaskRow], dict[str, TaskRow]] = {}
    for task in prerequisites:
        by_table.setdefault(table_model(type(task)), {})[key_of(task)] = task
    for root, tasks in by_table.items():
        links = links_of(using).filter(model=root._meta.label)
        for batch in batches(tasks.items(), _BATCH_SIZE):
            rows = all_rows(root, using).filter(pk__in=[task.pk for _, task in batch])
            statuses = dict(rows.values_list("pk", "status"))
            mark_ends(links, {key: link_state(statuses.get(task.pk)) for key, task in batch})


def _insert_dependents(dependents: Iterable[tuple[TaskRow, PrerequisiteGroup]], using: str) -> None:
    rows = [
        TaskDependent(group=group, model=key[0], task_key=key[1], state=_dependent_state(group))
        for task, group in dependents
        for key in [_key(task)]
    ]
    dependents_of(using).bulk_create(rows, batch_size=_BATCH_SIZE)


def _dependent_state(group: PrerequisiteGroup) -> DependentState:
    is_served = group.state == GroupState.SERVED
    return DependentState.RELEASED if is_served else DependentState.WAITING

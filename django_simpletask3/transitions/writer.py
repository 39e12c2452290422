"""The only writer of the state of tasks that have a row: row and event in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from ..db import clock
from ..db.backends import store_for
from ..db.conflicts import repeat_on_conflict
from ..db.locked_rows import LockedRows
from ..db.store import Change
from ..dispatch import after_commit
from ..dispatch.after_commit import RecordedEvent
from ..exceptions import RowBusy, StaleTask, TaskGone, TransitionRefused
from ..ledger import outbox
from ..ledger.columns import has_column, remember_written
from ..ledger.event import TaskEvent
from ..ledger.projection import Projection
from ..ledger.subscribers import registered_subscribers
from ..ledger.task_row import table_model, task_name, write_database
from ..logs import get_logger
from ..signals import event_recorded
from ..states import EVENTS, RECOVERABLE, EventKind, Payload
from . import late_results, participants
from .new_tasks import first_event
from .restore import restore_on_error
from .transition import Transition, has_no_events, planned_from
from .unique_keys.compute import key_columns
from .unique_keys.resets import apply_unless_taken, takes_key

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

_logger = get_logger(__name__)

_STATE = Projection._fields

#: Transitions of one row each, with the one change that they make.
Batch = Sequence[tuple[Sequence[Transition], Change]]


def apply(
    task: TaskRow,
    kind: EventKind,
    *,
    using: str | None = None,
    savepoint: bool = True,
    **details: Any,
) -> TaskEvent:
    """Apply one transition to ``task`` and append the event to its stream, in one transaction.

    ``details`` are fields of Transition. The status of the row counts, not that of the instance,
    which is updated. Raises IllegalTransition if ``kind`` cannot happen in that status, StaleTask
    if the row is not as expected (a late outcome is recorded as ``reject`` first), TaskGone if
    there is no row. Signals are sent after the outermost commit.
    """
    transition = Transition(task, kind, **details)
    apply_all([transition], using=using, savepoint=savepoint)
    if transition.event is None:
        raise transition.refusal or StaleTask(f"{task} was not moved.")
    return transition.event


def apply_all(
    transitions: Sequence[Transition],
    *,
    using: str | None = None,
    savepoint: bool = True,
    skip_locked: bool = False,
) -> None:
    """Apply transitions of tasks of one table in one transaction; each gets an event or a refusal.

    The router chooses the database of a task, unless ``using`` does; each database has a
    transaction of its own. A refusal does not stop the others. If the commit of an outcome was not
    answered, applying it again finds its event. A database error, or a receiver of
    ``event_recorded`` that raises, rolls back all of them and is raised; without ``savepoint`` the
    transaction around them is rolled back too. Rows that another transaction has locked are waited
    for, or, with ``skip_locked``, their transitions get RowBusy as ``error``.
    """
    for alias, group in _group_by_database(transitions, using).items():
        apply = partial(_apply_group, using=alias, savepoint=savepoint, skip_locked=skip_locked)
        if any(map(takes_key, group)):
            apply_unless_taken(group, alias, apply)
        else:
            apply(group)


def _apply_group(
    transitions: Sequence[Transition], *, using: str, savepoint: bool, skip_locked: bool
) -> None:
    work = partial(
        _apply_in_transaction, transitions, using, savepoint=savepoint, skip_locked=skip_locked
    )
    repeat_on_conflict(using, work)


def _apply_in_transaction(
    transitions: Sequence[Transition], using: str, *, savepoint: bool, skip_locked: bool
) -> None:
    tasks = [transition.task for transition in transitions]
    with restore_on_error(tasks), transaction.atomic(using=using, savepoint=savepoint):
        _apply(transitions, table_model(type(tasks[0])), using, skip_locked)
        # A receiver, or a participant, that catches a database error has lost all that was written:
        # Django would roll it back without an exception.
        connections[using].validate_no_broken_transaction()


def compare_and_set(transitions: Sequence[Transition]) -> list[Transition]:
    """Apply transitions whose row is still as ``last_known_row``, in autocommit.

    Returns those not applied, for ``apply_all``: the row has changed or is locked, a receiver or a
    subscriber or a participant needs a transaction, or the database raised, which is logged.
    """
    not_applied: list[Transition] = []
    for alias, group in _group_by_database(transitions).items():
        applied: set[int] = set()
        if _may_autocommit(group, alias):
            applied = _compare_and_set(group, table_model(type(group[0].task)), alias)
        not_applied += [transition for transition in group if id(transition) not in applied]
    return not_applied


def _may_autocommit(transitions: Sequence[Transition], using: str) -> bool:
    """Whether one statement can be the whole transaction.

    Receivers and subscribers undo a transition if they raise, so they need a transaction; so do
    participants, which write in it.
    """
    connection = transaction.get_connection(using)
    models = {type(transition.task) for transition in transitions}
    return (
        connection.get_autocommit()
        and not connection.in_atomic_block
        and not registered_subscribers()
        and not any(map(event_recorded.has_listeners, models))
        and not participants.needs_transaction(transitions)
    )


def _compare_and_set(
    transitions: Sequence[Transition], root: type[TaskRow], using: str
) -> set[int]:
    """Apply each batch in a transaction of its own; the ids of the transitions applied."""
    applied: set[int] = set()
    for batch in _plan_from_known_rows(transitions, root, using):
        try:
            with restore_on_error([t.task for transitions, _ in batch for t in transitions]):
                recorded_events: list[RecordedEvent] = []
                applied |= _apply_batch(batch, root, using, recorded_events)
                _publish(recorded_events, using)
        except Exception as error:
            # ``apply_all`` meets it too, unless it was transient.
            _logger.warning("batch_failed model=%s error=%s", root._meta.label, error)
            break
        for transition in (t for transitions, _ in batch for t in transitions):
            if id(transition) not in applied:
                transition.last_known_row = None  # the row has changed or is locked: read it
    return applied


def _plan_from_known_rows(
    transitions: Sequence[Transition], root: type[TaskRow], using: str
) -> list[Batch]:
    """The changes of the transitions whose rows need not be read, in batches of one statement.

    A transition that is refused, or may be, is left out, and with it those of the row after it.
    """
    store, now = store_for(root, using), clock.now(using)
    planned: dict[Any, tuple[Sequence[Transition], Change]] = {}
    left_out: set[Any] = set()
    for transition in transitions if store.has_batch_statements else ():
        row = transition.last_known_row
        pk = transition.task.pk if row is None else row["pk"]
        earlier, change = planned.get(pk, ((), None))
        if row is not None and change is not None:
            row = {**row, **change.columns}
        later = None if row is None or pk in left_out else _plan_unread(transition, row, root, now)
        if later is None:
            left_out.add(pk)
        else:
            planned[pk] = ([*earlier, transition], change.then(later) if change else later)
    batches = store.batches([change for _, change in planned.values()])
    return [[planned[change.pk] for change in batch] for batch in batches]


def _plan_unread(
    transition: Transition, row: Mapping[str, Any], root: type[TaskRow], now: datetime
) -> Change | None:
    """The change of ``row``, which need not be read; None if it must be, or may be refused."""
    values = transition.values
    writes_root_only = not values or all(has_column(root, name) for name in values)
    if not writes_root_only or has_no_events(row) or transition.mismatches(row):
        return None
    try:
        change = transition.plan(row, now)
    except TransitionRefused:
        return None
    return change if change.columns else None


def _apply_batch(
    batch: Batch, root: type[TaskRow], using: str, recorded_events: list[RecordedEvent]
) -> set[int]:
    """Write the changes of ``batch`` whose rows are as planned from; the ids of the applied.

    Their events are added to ``recorded_events``.
    """
    applied_pks = store_for(root, using).update_with_events([change for _, change in batch])
    applied: set[int] = set()
    for transitions, change in (each for each in batch if each[1].pk in applied_pks):
        for transition, event in zip(transitions, change.events, strict=True):
            transition.event, transition.refusal = event, None
            vars(transition.task).update(change.columns)
            remember_written(transition.task, change.columns)
            recorded_events.append((transition.task, event))
            applied.add(id(transition))
    return applied


def lock(root: type[TaskRow], using: str, pks: Iterable[object]) -> None:
    """Lock the rows of these tasks until the open transaction ends; some may not exist."""
    LockedRows(root, using, pks).read(["sequence"])


def repair_row(
    task: TaskRow, projection: Projection, *, using: str, reason: str, data: dict[str, Any]
) -> TaskEvent:
    """Set the columns of a row to ``projection``, which is that of its stream, and add a note.

    For a row that was changed without this module; result and error are left alone. Call it in a
    transaction that has locked the row and then read the stream. Recovery examines a waiting or
    running task at once.
    """
    rows = LockedRows(table_model(type(task)), using, [task.pk])
    rows.read(_STATE)
    before = {**(rows.get(task.pk) or {}), **{name: getattr(projection, name) for name in _STATE}}
    transition = Transition(task, EventKind.NOTE, reason=reason, data=data)
    now = clock.now(using)
    change = transition.plan(before, now)
    columns = {**before, **change.columns}
    del columns["pk"]
    columns["check_at"] = now if projection.status in RECOVERABLE else None
    rows.change(change._replace(columns=columns))
    rows.write([task])
    vars(task).update(columns)
    _publish([(task, change.event)], using)
    return change.event


def record_external_deletion(
    task: TaskRow, projection: Projection, *, using: str, reason: str, data: dict[str, Any]
) -> TaskEvent:
    """Record the deletion of a row that was deleted without this module, after its stream."""
    before = {"pk": task.pk, **{name: getattr(projection, name) for name in _STATE}}
    deletion = Transition(task, EventKind.DELETE, reason=reason, data=data)
    event = deletion.plan(before, clock.now(using)).event
    append([(task, event)], using)
    return event


def _group_by_database(
    transitions: Iterable[Transition], using: str | None = None
) -> dict[str, list[Transition]]:
    groups: dict[str, list[Transition]] = {}
    for transition in transitions:
        groups.setdefault(using or write_database(transition.task), []).append(transition)
    return groups


def _apply(
    transitions: Sequence[Transition], root: type[TaskRow], using: str, skip_locked: bool
) -> None:
    """Apply from the last known rows first, then what is left under lock."""
    recorded_events: list[RecordedEvent] = []
    if skip_locked:
        undecided = [t for t in transitions if not participants.needs_lock(t)]
        applied: set[int] = set()
        for batch in _plan_from_known_rows(undecided, root, using):
            applied |= _apply_batch(batch, root, using, recorded_events)
        transitions = [transition for transition in transitions if id(transition) not in applied]
    if transitions:
        recorded_events += _apply_under_lock(transitions, root, using, skip_locked)
    # All at once: participants lock what tasks share in one order, and part by part there is none
    # (test_what_tasks_of_several_statements_share_is_locked_in_one_order).
    _publish(recorded_events, using)


def _apply_under_lock(
    transitions: Sequence[Transition], root: type[TaskRow], using: str, skip_locked: bool
) -> list[RecordedEvent]:
    rows = LockedRows(root, using, {transition.task.pk for transition in transitions})
    rows.read(_columns_to_read(transitions, root), skip_locked=skip_locked)
    read_rows = [row for t in transitions if (row := rows.get(t.task.pk)) is not None]
    previous = first_event.previous_streams_by_pk(
        root, [row["pk"] for row in read_rows if has_no_events(row)], using
    )
    for transition in transitions:
        transition.event = transition.refusal = None  # of an attempt that was rolled back
    transitions = participants.before_write(transitions, rows, using)
    recorded_events: list[RecordedEvent] = []
    for transition in transitions:
        try:
            for recorded_event in _apply_to_row(transition, rows, previous, using):
                recorded_events.append(recorded_event)  # noqa: PERF402 - kept if it is refused next
        except TransitionRefused as refusal:
            refusal.pk, refusal.kind = transition.task.pk, transition.kind
            transition.refusal = refusal
        except RowBusy as busy:
            transition.error = busy
    rows.write([transition.task for transition in transitions])
    for transition in transitions:
        if transition.event is not None:
            values = rows.current_values(transition.task, _STATE)
            vars(transition.task).update(values)
            remember_written(transition.task, values)
    return recorded_events


def _columns_to_read(transitions: Sequence[Transition], root: type[TaskRow]) -> set[str]:
    expected = (name for transition in transitions for name in transition.expected)
    names = {*planned_from(root), *expected}
    if any(map(takes_key, transitions)):
        names.update(key_columns(root))
    if any(transition.kind is EventKind.UNBLOCK for transition in transitions):
        names.add("run_after")  # it may not be due yet
    if any(Payload.ERASED in EVENTS[transition.kind].carries for transition in transitions):
        names |= {"result_data", "error_data"}
    return names


def _apply_to_row(
    transition: Transition, rows: LockedRows, previous: Mapping[Any, Mapping[str, Any]], using: str
) -> Iterator[RecordedEvent]:
    """The events of ``transition``; a late outcome is recorded before it is refused."""
    task = transition.task
    name, row = task_name(task), rows.get(task.pk)
    if rows.is_busy(task.pk):
        raise RowBusy(f"{name} is locked by another transaction.")
    if row is None:
        raise TaskGone(f"{name} does not exist.")
    mismatches = transition.mismatches(row)
    if has_no_events(row):
        yield _enqueue_event_for_unrecorded_row(
            transition, rows, previous.get(row["pk"], first_event.EMPTY_PROJECTION), using
        )
    if (recorded_event := late_results.already_recorded(transition, row, using)) is not None:
        transition.event, transition.was_recorded = recorded_event, True
    elif mismatches:
        yield from _reject_late_result(transition, rows, using)
        raise StaleTask(f"{name} was moved first: now {mismatches}.", current=mismatches)
    else:
        transition.event = _change_row(transition, row, rows, using)
        yield task, transition.event


def _change_row(
    transition: Transition, row: Mapping[str, Any], rows: LockedRows, using: str
) -> TaskEvent:
    change = transition.plan(row, clock.now(using))
    rows.change(change)
    return change.event


def _enqueue_event_for_unrecorded_row(
    transition: Transition, rows: LockedRows, previous: Mapping[str, Any], using: str
) -> RecordedEvent:
    """The first event of a row inserted without ``save()``: a fixture, SQL, a plain bulk_create."""
    enqueue_transition = Transition(transition.task, EventKind.ENQUEUE, data={"adopted": True})
    unrecorded_row = {**(rows.get(transition.task.pk) or {}), **previous}
    return transition.task, _change_row(enqueue_transition, unrecorded_row, rows, using)


def _reject_late_result(
    transition: Transition, rows: LockedRows, using: str
) -> Iterator[RecordedEvent]:
    """The ``reject`` of a late outcome, once."""
    row = rows.get(transition.task.pk) or {}
    if (rejection := late_results.rejection_of(transition, row, using)) is not None:
        yield transition.task, _change_row(rejection, row, rows, using)


def append(
    recorded_events: list[RecordedEvent],
    using: str,
    batch_size: int | None = None,
    hook: after_commit.CommitHook | None = None,
) -> None:
    """Insert the events that were not inserted with their rows, and publish all."""
    if unsaved := [event for _, event in recorded_events if event._state.adding]:
        store_for(table_model(type(recorded_events[0][0])), using).append(unsaved, batch_size)
    _publish(recorded_events, using, hook)


def _publish(
    recorded_events: Sequence[RecordedEvent],
    using: str,
    hook: after_commit.CommitHook | None = None,
) -> None:
    """Write deliveries, send ``event_recorded``, and schedule what follows the commit."""
    if not recorded_events:
        return
    outbox.write_deliveries(recorded_events, using)
    # Before the receivers and participants: what they record follows these events.
    after_commit.schedule(recorded_events, using, hook)
    participants.after_write(recorded_events, using)
    senders = set(filter(event_recorded.has_listeners, {type(task) for task, _ in recorded_events}))
    for task, event in recorded_events:
        if type(task) in senders:
            event_recorded.send(sender=type(task), task=task, event=event)

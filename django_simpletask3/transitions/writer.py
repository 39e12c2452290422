"""The only writer of a task's state: row and event in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import Error, transaction

from ..db import clock
from ..db.backends import store_for
from ..db.locked_rows import LockedRows
from ..dispatch import after_commit
from ..exceptions import RowBusy, StaleTask, TaskGone, TransitionRefused
from ..ledger import outbox
from ..ledger.event import TaskEvent
from ..ledger.projection import Projection
from ..ledger.task_row import table_model, write_database
from ..signals import event_recorded
from ..states import EVENTS, RECOVERABLE, EventKind, Payload
from . import debuts, first_event, late_results
from . import insert as insert_module
from .compare_and_set import Statement, execute_statements, may_autocommit, plan_statements
from .transition import Transition, has_no_events, plan_columns, plan_event, remember_schedule

if TYPE_CHECKING:
    from ..db.postgresql.reader import RowReader
    from ..ledger.task_row import TaskRow

_logger = logging.getLogger(__name__)

_STATE = Projection._fields

RecordedEvent = tuple["TaskRow", TaskEvent]


def apply(
    task: TaskRow,
    kind: EventKind,
    *,
    using: str | None = None,
    savepoint: bool = True,
    **details: Any,
) -> TaskEvent:
    """Move ``task`` by ``kind`` and append the event to its stream, in one transaction.

    ``details`` are fields of a Move. The row, not the instance, says where the task is; the
    instance is brought up to date. Raises IllegalTransition if the machine has no such arrow,
    StaleTask if somebody moved the task first (the last words of a superseded run are recorded as
    ``reject`` before), TaskGone if there is no row. Signals go out after the outermost commit.
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
    """Make moves of tasks of one table in one transaction; each ends with an event or a refusal.

    The router says in which database a task is written, unless ``using`` does; each database has a
    transaction of its own. A refused move does not stop the others. Saying the same last word
    again, after a commit whose answer was lost, finds the event that is already there. A database
    error, or a receiver of ``event_recorded`` that raises, undoes all of them and is raised;
    without ``savepoint`` it undoes the transaction around them too. Rows that somebody else has
    locked are waited for, or, with ``pass_over``, their moves fail with RowBusy.
    """
    for alias, group in _group_by_database(transitions, using).items():
        tasks = [transition.task for transition in group]
        with _restore_on_error(tasks), transaction.atomic(using=alias, savepoint=savepoint):
            _apply(group, table_model(type(tasks[0])), alias, skip_locked)


def compare_and_set(transitions: Sequence[Transition]) -> list[Transition]:
    """Make those of ``moves`` whose rows are as they are known and that nobody watches.

    Each statement is a transaction by itself: what it has made stays made. Returns the moves that
    are left for ``record_all``, among them those that met an error of the database.
    """
    not_applied: list[Transition] = []
    for alias, group in _group_by_database(transitions).items():
        applied_ids: set[int] = set()
        if may_autocommit(group, alias):
            applied_ids = _compare_and_set_in_autocommit(
                group, table_model(type(group[0].task)), alias
            )
        not_applied += [transition for transition in group if id(transition) not in applied_ids]
    return not_applied


def record_debut(transition: Transition, reader: RowReader) -> bool:
    """Make ``move``, the start of a task of which only the key is known; its row is read with it.

    One statement, which is a transaction by itself. False if ``record_all`` has to make the move,
    of the row that somebody has read: something has happened to the task, it is not due, somebody
    watches, or the database refuses, which is logged. Of an answer that was lost, ``record_all``
    recognises the start that was made. Nobody can read a row that holds what Python has no word
    for (a time without end): its start stands until its lease ends.
    """
    using = reader.using
    if not (debuts.may_be_made(transition, using) and may_autocommit([transition], using)):
        return False
    try:
        event = debuts.made(transition, reader)
    except Exception as error:
        is_database_error = isinstance(error, Error)
        label = transition.task._meta.label
        _logger.warning(
            "debut_failed model=%s error=%s", label, error, exc_info=not is_database_error
        )
        return False
    if event is not None:
        _publish([(transition.task, event)], using)
    return event is not None


def _compare_and_set_in_autocommit(
    transitions: Sequence[Transition], root: type[TaskRow], using: str
) -> set[int]:
    applied_ids: set[int] = set()
    for statement in plan_statements(transitions, root, using):
        batch = [transition for transition, _ in statement]
        try:
            with _restore_on_error([transition.task for transition in batch]):
                not_applied = _apply_statements(batch, [statement], root, using)
        except Exception as error:
            # What stays of it record_all meets, too.
            _logger.warning("batch_failed model=%s error=%s", root._meta.label, error)
            break
        applied_ids |= {id(transition) for transition in batch} - {
            id(transition) for transition in not_applied
        }
        for transition in not_applied:
            transition.last_known_row = (
                None  # the row is not as it was, or locked: it has to be read
            )
    return applied_ids


def enqueue(
    tasks: Sequence[TaskRow],
    using: str,
    insert_rows: Callable[[], object],
    *,
    batch_size: int | None = None,
    may_skip_transaction: bool = False,
) -> None:
    """Insert new rows by calling ``insert``, with their first events, in one transaction.

    Each row starts PENDING, whatever the instance said. The bell rings after the commit. Raises
    ValueError if the router would look for a task elsewhere than in ``using``. A task that
    ``may_be_alone`` is inserted by ``Model.save()`` with our ``_do_insert``: if one statement is
    enough for it, there is no transaction but that.
    """
    with _restore_on_error(tasks):
        if may_skip_transaction and insert_module.fits_one_statement(tasks[0], using):
            with suppress(insert_module.NeedsTransaction):
                _enqueue(tasks, using, insert_rows, batch_size)
                return
        # No savepoint, like Model.save(): a failed insert spoils the transaction around it, if any.
        with transaction.atomic(using=using, savepoint=False):
            _enqueue(tasks, using, insert_rows, batch_size)


def _enqueue(
    tasks: Sequence[TaskRow], using: str, insert_rows: Callable[[], object], batch_size: int | None
) -> None:
    previous = first_event.previous_streams(tasks, using)
    now = clock.now(using)
    recorded_events = [
        (
            task,
            _apply_first_event(
                task, previous.get(task.pk, first_event.EMPTY_PROJECTION), using, now
            ),
        )
        for task in tasks
    ]
    if len(recorded_events) == 1:
        insert_module.attach_event(*recorded_events[0])
    try:
        insert_rows()
    finally:
        for task in tasks:
            insert_module.take_unsaved_event(task)
    for task, event in recorded_events:
        first_event.reject_wrong_database(task, using)
        event.task_id = task.pk
    _append(recorded_events, using, batch_size)
    for task in tasks:
        remember_schedule(task)


def lock(root: type[TaskRow], using: str, pks: Iterable[Any]) -> None:
    """Let nobody move these tasks until the transaction that is open ends; rows may be gone."""
    LockedRows(root, using, pks).read(["sequence"])


def repair_row(
    task: TaskRow, projection: Projection, *, using: str, reason: str, data: dict[str, Any]
) -> TaskEvent:
    """Make the row say what its stream says, ``truth``, and note that; its results are left alone.

    For a row that was changed past this module. In a transaction that holds the row and has read
    the stream under that lock. A task that is waiting or running then is looked after at once.
    """
    rows = LockedRows(table_model(type(task)), using, [task.pk])
    rows.read(_STATE)
    before = {**(rows.get(task.pk) or {}), **{name: getattr(projection, name) for name in _STATE}}
    transition = Transition(task, EventKind.NOTE, reason=reason, data=data)
    event = plan_event(transition, before, using)
    columns = {**before, **plan_columns(transition, event, before, using)}
    del columns["pk"]
    columns["check_at"] = clock.now(using) if projection.status in RECOVERABLE else None
    rows.change(task, columns)
    rows.write([task])
    vars(task).update(columns)
    _append([(task, event)], using)
    return event


def record_external_deletion(
    task: TaskRow, projection: Projection, *, using: str, reason: str, data: dict[str, Any]
) -> TaskEvent:
    """Record the deletion of a row that was deleted past this module; ``truth`` is its stream."""
    before = {"pk": task.pk, **{name: getattr(projection, name) for name in _STATE}}
    event = plan_event(Transition(task, EventKind.DELETE, reason=reason, data=data), before, using)
    _append([(task, event)], using)
    return event


def _group_by_database(
    transitions: Iterable[Transition], using: str | None = None
) -> dict[str, list[Transition]]:
    groups: dict[str, list[Transition]] = {}
    for transition in transitions:
        groups.setdefault(using or write_database(transition.task), []).append(transition)
    return groups


@contextmanager
def _restore_on_error(tasks: Iterable[TaskRow]) -> Iterator[None]:
    """Give ``tasks`` their attributes back if the block, and so its transaction, fails."""
    saved = [(task, dict(vars(task)), task._state.adding, task._state.db) for task in tasks]
    try:
        yield
    except BaseException:
        for task, attributes, adding, using in saved:
            vars(task).update(attributes)
            task._state.adding, task._state.db = adding, using
        raise


def _apply_first_event(
    task: TaskRow, previous: Mapping[str, Any], using: str, moment: datetime
) -> TaskEvent:
    event, columns = first_event.build_first_event(task, previous, using, moment)
    vars(task).update(columns)
    return event


def _apply(
    transitions: Sequence[Transition], root: type[TaskRow], using: str, skip_locked: bool
) -> None:
    statements = plan_statements(transitions, root, using) if skip_locked else []
    if statements:
        transitions = _apply_statements(transitions, statements, root, using)
    if transitions:
        _apply_under_lock(transitions, root, using, skip_locked)


def _apply_statements(
    transitions: Sequence[Transition],
    statements: Sequence[Statement],
    root: type[TaskRow],
    using: str,
) -> list[Transition]:
    """Make the moves of ``statements``; returns those that are left to make."""
    applied = execute_statements(statements, root, using)
    _publish([(transition.task, event) for transition, event in applied], using)
    applied_ids = {id(transition) for transition, _ in applied}
    return [transition for transition in transitions if id(transition) not in applied_ids]


def _apply_under_lock(
    transitions: Sequence[Transition], root: type[TaskRow], using: str, skip_locked: bool
) -> None:
    rows = LockedRows(root, using, {transition.task.pk for transition in transitions})
    rows.read(_columns_to_read(transitions), skip_locked=skip_locked)
    read_rows = [
        row for transition in transitions if (row := rows.get(transition.task.pk)) is not None
    ]
    previous = first_event.previous_streams_by_pk(
        root, [row["pk"] for row in read_rows if has_no_events(row)], using
    )
    recorded_events: list[RecordedEvent] = []
    for transition in transitions:
        try:
            for recorded_event in _apply_to_row(transition, rows, previous, using):
                recorded_events.append(recorded_event)  # noqa: PERF402 - what is told before a refusal stays told
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
            remember_schedule(transition.task, values)
    _append(recorded_events, using)


def _columns_to_read(transitions: Sequence[Transition]) -> set[str]:
    names = {*_STATE, *(name for transition in transitions for name in transition.expected)}
    if any(Payload.ERASED in EVENTS[transition.kind].carries for transition in transitions):
        names |= {"result_data", "error_data"}
    return names


def _apply_to_row(
    transition: Transition, rows: LockedRows, previous: Mapping[Any, Mapping[str, Any]], using: str
) -> Iterator[RecordedEvent]:
    """The events ``move`` makes; a refused one may leave evidence before it is refused."""
    transition.event = transition.refusal = None
    row = rows.get(transition.task.pk)
    if rows.is_busy(transition.task.pk):
        raise RowBusy(
            f"{transition.task._meta.label} {transition.task.pk} is locked by somebody else."
        )
    if row is None:
        raise TaskGone(
            f"{transition.task._meta.label} {transition.task.pk} does not exist any more."
        )
    mismatches = transition.mismatches(row)
    if has_no_events(row):
        yield _enqueue_event_for_unrecorded_row(
            transition, rows, previous.get(row["pk"], first_event.EMPTY_PROJECTION), using
        )
    if (recorded_event := late_results.already_recorded(transition, row, using)) is not None:
        transition.event = recorded_event
    elif mismatches:
        yield from _reject_late_result(transition, rows, using)
        raise StaleTask(
            f"{transition.task._meta.label} {transition.task.pk} was moved first: now {mismatches}."
        )
    else:
        transition.event = plan_event(transition, row, using)
        if transition.kind is not EventKind.DELETE:
            rows.change(transition.task, plan_columns(transition, transition.event, row, using))
        yield transition.task, transition.event


def _enqueue_event_for_unrecorded_row(
    transition: Transition, rows: LockedRows, previous: Mapping[str, Any], using: str
) -> RecordedEvent:
    """The first event of a row that came past ``save()``: a fixture, a plain bulk_create, SQL."""
    enqueue_transition = Transition(transition.task, EventKind.ENQUEUE, data={"adopted": True})
    unrecorded_row = {**(rows.get(transition.task.pk) or {}), **previous}
    event = plan_event(enqueue_transition, unrecorded_row, using)
    rows.change(transition.task, plan_columns(enqueue_transition, event, unrecorded_row, using))
    return transition.task, event


def _reject_late_result(
    transition: Transition, rows: LockedRows, using: str
) -> Iterator[RecordedEvent]:
    """The evidence that a late last word was refused, once."""
    row = rows.get(transition.task.pk) or {}
    if (rejection := late_results.rejection_of(transition, row, using)) is not None:
        event = plan_event(rejection, row, using)
        rows.change(transition.task, plan_columns(rejection, event, row, using))
        yield transition.task, event


def _append(
    recorded_events: list[RecordedEvent], using: str, batch_size: int | None = None
) -> None:
    """Insert the events that came in with no row, and tell of all."""
    if not recorded_events:
        return
    if unsaved := [event for _, event in recorded_events if event._state.adding]:
        store_for(table_model(type(recorded_events[0][0])), using).append_events(
            unsaved, batch_size
        )
    _publish(recorded_events, using)


def _publish(recorded_events: Sequence[RecordedEvent], using: str) -> None:
    """Tell the receivers inside the transaction, and announce the commit."""
    outbox.write_deliveries(recorded_events, using)
    senders = set(filter(event_recorded.has_listeners, {type(task) for task, _ in recorded_events}))
    for task, event in recorded_events:
        if type(task) in senders:
            event_recorded.send(sender=type(task), task=task, event=event)
    after_commit.schedule(recorded_events, using)

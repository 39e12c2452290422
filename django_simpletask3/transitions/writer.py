"""The only writer of a task's state: row and event in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import Error, transaction

from ..conf.options import in_a_batch
from ..db import clock
from ..db.backends import pen_of
from ..db.locked_rows import Rows
from ..dispatch import after_commit
from ..exceptions import RowBusy, StaleTask, TaskGone, TransitionRefused
from ..ledger import outbox
from ..ledger.event import TaskEvent
from ..ledger.projection import Projection
from ..ledger.task_row import home_of, root_of
from ..signals import event_recorded
from ..states import ACTIVE, EventKind
from . import compare_and_set, debuts, first_event, late_results
from . import insert as insert_module
from .transition import Move, columns_of, event_of, is_unborn, remember_schedule

if TYPE_CHECKING:
    from ..db.postgresql.reader import Reading
    from ..ledger.task_row import TaskRow

_logger = logging.getLogger(__name__)

_STATE = Projection._fields

Fact = tuple["TaskRow", TaskEvent]


def record(
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
    move = Move(task, kind, **details)
    record_all([move], using=using, savepoint=savepoint)
    if move.event is None:
        raise move.refused or StaleTask(f"{task} was not moved.")
    return move.event


@in_a_batch()
def record_all(
    moves: Sequence[Move],
    *,
    using: str | None = None,
    savepoint: bool = True,
    pass_over: bool = False,
) -> None:
    """Make moves of tasks of one table in one transaction; each ends with an event or a refusal.

    The router says in which database a task is written, unless ``using`` does; each database has a
    transaction of its own. A refused move does not stop the others. Saying the same last word
    again, after a commit whose answer was lost, finds the event that is already there. A database
    error, or a receiver of ``event_recorded`` that raises, undoes all of them and is raised;
    without ``savepoint`` it undoes the transaction around them too. Rows that somebody else has
    locked are waited for, or, with ``pass_over``, their moves fail with RowBusy.
    """
    for alias, together in _by_database(moves, using).items():
        tasks = [move.task for move in together]
        with _restored_on_error(tasks), transaction.atomic(using=alias, savepoint=savepoint):
            _record(together, root_of(type(tasks[0])), alias, pass_over)


@in_a_batch()
def record_unread(moves: Sequence[Move]) -> list[Move]:
    """Make those of ``moves`` whose rows are as they are known and that nobody watches.

    Each statement is a transaction by itself: what it has made stays made. Returns the moves that
    are left for ``record_all``, among them those that met an error of the database.
    """
    left: list[Move] = []
    for alias, together in _by_database(moves).items():
        made: set[int] = set()
        if compare_and_set.are_unwatched(together, alias):
            made = _made_alone(together, root_of(type(together[0].task)), alias)
        left += [move for move in together if id(move) not in made]
    return left


@in_a_batch()
def record_debut(move: Move, reading: Reading) -> bool:
    """Make ``move``, the start of a task of which only the key is known; its row is read with it.

    One statement, which is a transaction by itself. False if ``record_all`` has to make the move,
    of the row that somebody has read: something has happened to the task, it is not due, somebody
    watches, or the database refuses, which is logged. Of an answer that was lost, ``record_all``
    recognises the start that was made. Nobody can read a row that holds what Python has no word
    for (a time without end): its start stands until its lease ends.
    """
    using = reading.using
    if not (debuts.may_be_made(move, using) and compare_and_set.are_unwatched([move], using)):
        return False
    try:
        event = debuts.made(move, reading)
    except Exception as error:
        foreseen = isinstance(error, Error)
        label = move.task._meta.label
        _logger.warning("debut_failed model=%s error=%s", label, error, exc_info=not foreseen)
        return False
    if event is not None:
        _tell([(move.task, event)], using)
    return event is not None


def _made_alone(moves: Sequence[Move], root: type[TaskRow], using: str) -> set[int]:
    made: set[int] = set()
    for statement in compare_and_set.planned(moves, root, using):
        some = [move for move, _ in statement]
        try:
            with _restored_on_error([move.task for move in some]):
                rest = _record_unread(some, [statement], root, using)
        except Exception as error:
            # What stays of it record_all meets, too.
            _logger.warning("batch_failed model=%s error=%s", root._meta.label, error)
            break
        made |= {id(move) for move in some} - {id(move) for move in rest}
        for move in rest:
            move.known = None  # the row is not as it was, or locked: it has to be read
    return made


@in_a_batch()
def enqueue(
    tasks: Sequence[TaskRow],
    using: str,
    insert: Callable[[], object],
    *,
    batch_size: int | None = None,
    may_be_alone: bool = False,
) -> None:
    """Insert new rows by calling ``insert``, with their first events, in one transaction.

    Each row starts PENDING, whatever the instance said. The bell rings after the commit. Raises
    ValueError if the router would look for a task elsewhere than in ``using``. A task that
    ``may_be_alone`` is inserted by ``Model.save()`` with our ``_do_insert``: if one statement is
    enough for it, there is no transaction but that.
    """
    with _restored_on_error(tasks):
        if may_be_alone and insert_module.is_alone(tasks[0], using):
            with suppress(insert_module.NotAlone):
                _enqueue(tasks, using, insert, batch_size)
                return
        # No savepoint, like Model.save(): a failed insert spoils the transaction around it, if any.
        with transaction.atomic(using=using, savepoint=False):
            _enqueue(tasks, using, insert, batch_size)


def _enqueue(
    tasks: Sequence[TaskRow], using: str, insert: Callable[[], object], batch_size: int | None
) -> None:
    before = first_event.lives_before(tasks, using)
    now = clock.now(using)
    told = [
        (task, _born(task, before.get(task.pk, first_event.NEWBORN), using, now)) for task in tasks
    ]
    if len(told) == 1:
        insert_module.charge(*told[0])
    try:
        insert()
    finally:
        for task in tasks:
            insert_module.discharge(task)
    for task, event in told:
        first_event.refuse_stray(task, using)
        event.task_id = task.pk
    _append(told, using, batch_size)
    for task in tasks:
        remember_schedule(task)


def lock(root: type[TaskRow], using: str, pks: Iterable[Any]) -> None:
    """Let nobody move these tasks until the transaction that is open ends; rows may be gone."""
    Rows(root, using, pks).read(["sequence"])


def restore(
    task: TaskRow, truth: Projection, *, using: str, reason: str, data: dict[str, Any]
) -> TaskEvent:
    """Make the row say what its stream says, ``truth``, and note that; its results are left alone.

    For a row that was changed past this module. In a transaction that holds the row and has read
    the stream under that lock. A task that is waiting or running then is looked after at once.
    """
    rows = Rows(root_of(type(task)), using, [task.pk])
    rows.read(_STATE)
    before = {**(rows.get(task.pk) or {}), **{name: getattr(truth, name) for name in _STATE}}
    note = Move(task, EventKind.NOTE, reason=reason, data=data)
    event = event_of(note, before, using)
    columns = {**before, **columns_of(note, event, before, using)}
    del columns["pk"]
    columns["check_at"] = clock.now(using) if truth.status in ACTIVE else None
    rows.change(task, columns)
    rows.write([task])
    vars(task).update(columns)
    _append([(task, event)], using)
    return event


def mourn(
    task: TaskRow, truth: Projection, *, using: str, reason: str, data: dict[str, Any]
) -> TaskEvent:
    """Record the deletion of a row that was deleted past this module; ``truth`` is its stream."""
    before = {"pk": task.pk, **{name: getattr(truth, name) for name in _STATE}}
    event = event_of(Move(task, EventKind.DELETE, reason=reason, data=data), before, using)
    _append([(task, event)], using)
    return event


def _by_database(moves: Iterable[Move], using: str | None = None) -> dict[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(using or home_of(move.task), []).append(move)
    return found


@contextmanager
def _restored_on_error(tasks: Iterable[TaskRow]) -> Iterator[None]:
    """Give ``tasks`` their attributes back if the block, and so its transaction, fails."""
    kept = [(task, dict(vars(task)), task._state.adding, task._state.db) for task in tasks]
    try:
        yield
    except BaseException:
        for task, attributes, adding, using in kept:
            vars(task).update(attributes)
            task._state.adding, task._state.db = adding, using
        raise


def _born(task: TaskRow, before: Mapping[str, Any], using: str, moment: datetime) -> TaskEvent:
    event, columns = first_event.first_event(task, before, using, moment)
    vars(task).update(columns)
    return event


def _record(moves: Sequence[Move], root: type[TaskRow], using: str, pass_over: bool) -> None:
    statements = compare_and_set.planned(moves, root, using) if pass_over else []
    if statements:
        moves = _record_unread(moves, statements, root, using)
    if moves:
        _record_read(moves, root, using, pass_over)


def _record_unread(
    moves: Sequence[Move],
    statements: Sequence[compare_and_set.Statement],
    root: type[TaskRow],
    using: str,
) -> list[Move]:
    """Make the moves of ``statements``; returns those that are left to make."""
    made = compare_and_set.made(statements, root, using)
    _tell([(move.task, event) for move, event in made], using)
    ours = {id(move) for move, _ in made}
    return [move for move in moves if id(move) not in ours]


def _record_read(moves: Sequence[Move], root: type[TaskRow], using: str, pass_over: bool) -> None:
    rows = Rows(root, using, {move.task.pk for move in moves})
    rows.read(_needed(moves), pass_over=pass_over)
    found = [row for move in moves if (row := rows.get(move.task.pk)) is not None]
    lives = first_event.former_lives(root, [row["pk"] for row in found if is_unborn(row)], using)
    told: list[Fact] = []
    for move in moves:
        try:
            for fact in _planned(move, rows, lives, using):
                told.append(fact)  # noqa: PERF402 - what is told before a refusal stays told
        except TransitionRefused as refusal:
            refusal.pk, refusal.kind = move.task.pk, move.kind
            move.refused = refusal
        except RowBusy as busy:
            move.failure = busy
    rows.write([move.task for move in moves])
    for move in moves:
        if move.event is not None:
            news = rows.news_of(move.task, _STATE)
            vars(move.task).update(news)
            remember_schedule(move.task, news)
    _append(told, using)


def _needed(moves: Sequence[Move]) -> set[str]:
    names = {*_STATE, *(name for move in moves for name in move.expect)}
    if any(move.kind is EventKind.RESET for move in moves):
        names |= {"result_data", "error_data"}
    return names


def _planned(
    move: Move, rows: Rows, lives: Mapping[Any, Mapping[str, Any]], using: str
) -> Iterator[Fact]:
    """The events ``move`` makes; a refused one may leave evidence before it is refused."""
    move.event = move.refused = None
    row = rows.get(move.task.pk)
    if rows.is_busy(move.task.pk):
        raise RowBusy(f"{move.task._meta.label} {move.task.pk} is locked by somebody else.")
    if row is None:
        raise TaskGone(f"{move.task._meta.label} {move.task.pk} does not exist any more.")
    missed = move.missed(row)
    if is_unborn(row):
        yield _adopted(move, rows, lives.get(row["pk"], first_event.NEWBORN), using)
    if (said := late_results.already_said(move, row, using)) is not None:
        move.event = said
    elif missed:
        yield from _rejected(move, rows, using)
        raise StaleTask(f"{move.task._meta.label} {move.task.pk} was moved first: now {missed}.")
    else:
        move.event = event_of(move, row, using)
        if move.kind is not EventKind.DELETE:
            rows.change(move.task, columns_of(move, move.event, row, using))
        yield move.task, move.event


def _adopted(move: Move, rows: Rows, before: Mapping[str, Any], using: str) -> Fact:
    """The first event of a row that came past ``save()``: a fixture, a plain bulk_create, SQL."""
    birth = Move(move.task, EventKind.ENQUEUE, data={"adopted": True})
    unborn = {**(rows.get(move.task.pk) or {}), **before}
    event = event_of(birth, unborn, using)
    rows.change(move.task, columns_of(birth, event, unborn, using))
    return move.task, event


def _rejected(move: Move, rows: Rows, using: str) -> Iterator[Fact]:
    """The evidence that a late last word was refused, once."""
    row = rows.get(move.task.pk) or {}
    if (evidence := late_results.evidence_against(move, row, using)) is not None:
        event = event_of(evidence, row, using)
        rows.change(move.task, columns_of(evidence, event, row, using))
        yield move.task, event


def _append(told: list[Fact], using: str, batch_size: int | None = None) -> None:
    """Insert the events that came in with no row, and tell of all."""
    if not told:
        return
    if missing := [event for _, event in told if event._state.adding]:
        pen_of(root_of(type(told[0][0])), using).append(missing, batch_size)
    _tell(told, using)


def _tell(told: Sequence[Fact], using: str) -> None:
    """Tell the receivers inside the transaction, and announce the commit."""
    outbox.note(told, using)
    heard = set(filter(event_recorded.has_listeners, {type(task) for task, _ in told}))
    for task, event in told:
        if type(task) in heard:
            event_recorded.send(sender=type(task), task=task, event=event)
    after_commit.note(told, using)

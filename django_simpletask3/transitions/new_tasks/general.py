"""Enqueue new tasks of any kind, also such as are unique, blocked, or seen by receivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from django.db import connections, transaction

from ...db import clock, inserts
from ...db.conflicts import repeat_on_conflict
from ...dispatch import after_commit
from ...dispatch.after_commit import RecordedEvent
from ...ledger.columns import remember_columns
from ...ledger.task_row import has_unique_key
from ..expiry import forget_copied_expiry
from ..restore import restore_on_error
from ..unique_keys.inserts import insert_unless_taken, reject_repeated
from ..writer import append
from . import first_event

if TYPE_CHECKING:
    from ...ledger.task_row import TaskRow


def enqueue(
    tasks: Sequence[TaskRow],
    using: str,
    insert_rows: Callable[[], object],
    *,
    batch_size: int | None = None,
    may_skip_transaction: bool = False,
) -> None:
    """Insert new rows by calling ``insert_rows``, with their first events, in one transaction.

    Each row begins PENDING, or BLOCKED, whatever the instance held. Messages are pushed after the
    commit. Raises ValueError if the router would look for a task elsewhere than in ``using``, and
    DuplicateTask, without harm to a transaction around it, if another has the key of one. With
    ``may_skip_transaction`` one task is inserted by ``Model.save()`` with SimpleTask's
    ``_do_insert``: if one statement is enough, it is the whole transaction.
    """
    forget_copied_expiry(tasks)
    skips_transaction = may_skip_transaction and inserts.fits_one_statement(tasks[0], using)
    is_unique = bool(tasks) and has_unique_key(type(tasks[0]))
    work = partial(_enqueue, tasks, using, insert_rows, batch_size)
    # Without savepoint a failed insert spoils the transaction around it, as that of Model.save().
    in_transaction = partial(
        _in_transaction, tasks, using, work, skips_it=skips_transaction, savepoint=is_unique
    )
    insert = partial(repeat_on_conflict, using, in_transaction)
    if is_unique:
        insert_unless_taken(tasks, using, insert)
    else:
        insert()


def _in_transaction(
    tasks: Sequence[TaskRow],
    using: str,
    work: Callable[[], None],
    *,
    skips_it: bool,
    savepoint: bool,
) -> None:
    with restore_on_error(tasks):
        if skips_it:
            with suppress(inserts.NeedsTransaction), inserts.one_statement(tasks[0], using):
                work()
                return
        with transaction.atomic(using=using, savepoint=savepoint):
            work()
            connections[using].validate_no_broken_transaction()


def _enqueue(
    tasks: Sequence[TaskRow], using: str, insert_rows: Callable[[], object], batch_size: int | None
) -> None:
    previous = first_event.previous_streams(tasks, using)
    first_events = first_event.FirstEvents(previous, clock.now(using), using)
    # Here: what receivers of post_save record follows the first events.
    hook = after_commit.hook_of_transaction(using)
    recorded_events: list[RecordedEvent] = []
    for task in tasks:
        change = first_events.plan(task)
        vars(task).update(change.columns)
        remember_columns(task, change.columns)  # a receiver of post_save may save it again
        recorded_events += [(task, event) for event in change.events]
        inserts.attach_events(task, change.events)
    if len(tasks) > 1 and has_unique_key(type(tasks[0])):
        reject_repeated(tasks)
    try:
        insert_rows()
    finally:
        for task in tasks:
            inserts.take_unsaved_event(task)
    for task, event in recorded_events:
        first_event.reject_wrong_database(task, using)
        event.task_id = task.pk
    for task in tasks:
        for name in ("_is_enqueued_blocked", "_replaced"):  # a copy of it is a task like others
            vars(task).pop(name, None)
        remember_columns(task)
    append(recorded_events, using, batch_size, hook)

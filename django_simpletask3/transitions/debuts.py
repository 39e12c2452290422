"""The first start of a task: its row is moved, and read, in one statement of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..db.backends import store_for
from ..db.postgresql.sql import ENQUEUED
from ..db.store import Change
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.task_row import table_model
from .transition import Transition, plan_columns, plan_event, remember_schedule

if TYPE_CHECKING:
    from ..db.postgresql.reader import RowReader


def may_be_made(transition: Transition, using: str) -> bool:
    """Whether the database can seal the event of ``move``, and move a row that nobody has read."""
    root = table_model(type(transition.task))
    return (
        store_for(root, using).has_batch_statements
        and event_model_of(root).expected_digest is TaskEvent.expected_digest
    )


def made(transition: Transition, reader: RowReader) -> TaskEvent | None:
    """Make ``move``, the start of a task of which only the key is known; it is read with it.

    None, and nothing is done, unless its row is as its first event left it, due, and not locked,
    and all can be said in one statement.
    """
    task, using = transition.task, reader.using
    known_columns = {"pk": task.pk, "digest": None, **ENQUEUED}
    event = plan_event(transition, known_columns, using)
    columns = plan_columns(transition, event, known_columns, using)
    del columns["digest"]
    change = Change(task.pk, 1, columns, event)
    row = store_for(table_model(type(task)), using).begin(change, reader)
    if row is None:
        return None
    transition.event, transition.refusal = event, None
    vars(task).update(row)
    vars(task).update(columns)
    remember_schedule(task)
    return event

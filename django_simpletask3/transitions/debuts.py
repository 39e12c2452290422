"""The first start of a task: its row is moved, and read, in one statement of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..db.backends import pen_of
from ..db.postgresql.sql import ENQUEUED
from ..db.store import Change
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.task_row import root_of
from .transition import Move, columns_of, event_of, remember_schedule

if TYPE_CHECKING:
    from ..db.postgresql.reader import Reading


def may_be_made(move: Move, using: str) -> bool:
    """Whether the database can seal the event of ``move``, and move a row that nobody has read."""
    root = root_of(type(move.task))
    return pen_of(root, using).is_terse and event_model_of(root).sealed is TaskEvent.sealed


def made(move: Move, reading: Reading) -> TaskEvent | None:
    """Make ``move``, the start of a task of which only the key is known; it is read with it.

    None, and nothing is done, unless its row is as its first event left it, due, and not locked,
    and all can be said in one statement.
    """
    task, using = move.task, reading.using
    known = {"pk": task.pk, "digest": None, **ENQUEUED}
    event = event_of(move, known, using)
    columns = columns_of(move, event, known, using)
    del columns["digest"]
    change = Change(task.pk, 1, columns, event)
    row = pen_of(root_of(type(task)), using).begin(change, reading)
    if row is None:
        return None
    move.event, move.refused = event, None
    vars(task).update(row)
    vars(task).update(columns)
    remember_schedule(task)
    return event

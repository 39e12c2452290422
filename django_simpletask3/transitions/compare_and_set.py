"""Moves of rows that are as whoever moves them last saw them: one statement, and no reading."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..db import clock
from ..db.backends import pen_of
from ..db.locks import slices
from ..db.store import Change
from ..exceptions import StaleTask, TransitionRefused
from ..ledger.columns import has_column
from ..ledger.event import TaskEvent
from ..ledger.subscribers import registered
from ..ledger.task_row import root_of
from ..signals import event_recorded
from .transition import Move, columns_of, event_of, is_unborn, remember_schedule

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

#: Moves in one statement.
_AT_ONCE = 500

#: What one statement moves.
Statement = Sequence[tuple[Move, Change]]


def planned(moves: Sequence[Move], root: type[TaskRow], using: str) -> list[Statement]:
    """The statements that make those of ``moves`` whose rows are known; none where it takes more.

    A move that the machine refuses, or that may be refused, is not among them.
    """
    if not pen_of(root, using).is_terse:
        return []
    found: dict[Any, tuple[Move, Change]] = {}
    now = clock.now(using)
    for move in moves:
        if move.known is not None and move.known["pk"] not in found:
            with suppress(TransitionRefused):
                found[move.known["pk"]] = move, _change(move, move.known, using, now)
    alike: dict[tuple[str, ...], list[tuple[Move, Change]]] = {}
    for move, change in found.values():
        alike.setdefault(tuple(sorted(change.columns)), []).append((move, change))
    return [some for each in alike.values() for some in slices(each, _AT_ONCE)]


def are_unwatched(moves: Sequence[Move], using: str) -> bool:
    """Whether a statement that makes ``moves`` is a transaction by itself: nobody watches it.

    Receivers and subscribers would undo the move if they raised, so they need a transaction.
    """
    connection = transaction.get_connection(using)
    return (
        connection.get_autocommit()
        and not connection.in_atomic_block
        and not registered()
        and not any(map(event_recorded.has_listeners, {type(move.task) for move in moves}))
    )


def made(
    statements: Sequence[Statement], root: type[TaskRow], using: str
) -> list[tuple[Move, TaskEvent]]:
    """Make the moves of ``statements``, but those of rows that somebody has moved or locked."""
    pen = pen_of(root, using)
    done: list[tuple[Move, TaskEvent]] = []
    for statement in statements:
        moved = pen.move([change for _, change in statement])
        for move, change in statement:
            if change.pk in moved and change.event is not None:
                move.event, move.refused = change.event, None
                vars(move.task).update(change.columns)
                remember_schedule(move.task, change.columns)
                done.append((move, change.event))
    return done


def _change(move: Move, row: Any, using: str, moment: datetime) -> Change:
    """What ``move`` makes of ``row`` then; raises TransitionRefused if that needs a closer look."""
    elsewhere = not all(has_column(root_of(type(move.task)), name) for name in move.values)
    if elsewhere or is_unborn(row) or move.missed(row):
        raise StaleTask(f"{move.task._meta.label} {row['pk']} has to be read.")
    event = event_of(move, row, using, moment)
    return Change(row["pk"], row["sequence"], columns_of(move, event, row, using), event)

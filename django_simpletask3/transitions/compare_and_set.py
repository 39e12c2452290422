"""Moves of rows that are as whoever moves them last saw them: one statement, and no reading."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..db import clock
from ..db.backends import store_for
from ..db.locks import batches
from ..db.store import Change
from ..exceptions import StaleTask, TransitionRefused
from ..ledger.columns import has_column
from ..ledger.event import TaskEvent
from ..ledger.subscribers import registered_subscribers
from ..ledger.task_row import table_model
from ..signals import event_recorded
from .transition import Transition, has_no_events, plan_columns, plan_event, remember_schedule

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

#: Moves in one statement.
_BATCH_SIZE = 500

#: What one statement moves.
Statement = Sequence[tuple[Transition, Change]]


def plan_statements(
    transitions: Sequence[Transition], root: type[TaskRow], using: str
) -> list[Statement]:
    """The statements that make those of ``moves`` whose rows are known; none where it takes more.

    A move that the machine refuses, or that may be refused, is not among them.
    """
    if not store_for(root, using).has_batch_statements:
        return []
    changes_by_pk: dict[Any, tuple[Transition, Change]] = {}
    now = clock.now(using)
    for transition in transitions:
        if (
            transition.last_known_row is not None
            and transition.last_known_row["pk"] not in changes_by_pk
        ):
            with suppress(TransitionRefused):
                changes_by_pk[transition.last_known_row["pk"]] = (
                    transition,
                    _build_change(transition, transition.last_known_row, using, now),
                )
    by_columns: dict[tuple[str, ...], list[tuple[Transition, Change]]] = {}
    for transition, change in changes_by_pk.values():
        by_columns.setdefault(tuple(sorted(change.columns)), []).append((transition, change))
    return [batch for group in by_columns.values() for batch in batches(group, _BATCH_SIZE)]


def may_autocommit(transitions: Sequence[Transition], using: str) -> bool:
    """Whether a statement that makes ``moves`` is a transaction by itself: nobody watches it.

    Receivers and subscribers would undo the move if they raised, so they need a transaction.
    """
    connection = transaction.get_connection(using)
    return (
        connection.get_autocommit()
        and not connection.in_atomic_block
        and not registered_subscribers()
        and not any(
            map(event_recorded.has_listeners, {type(transition.task) for transition in transitions})
        )
    )


def execute_statements(
    statements: Sequence[Statement], root: type[TaskRow], using: str
) -> list[tuple[Transition, TaskEvent]]:
    """Make the moves of ``statements``, but those of rows that somebody has moved or locked."""
    store = store_for(root, using)
    applied: list[tuple[Transition, TaskEvent]] = []
    for statement in statements:
        applied_pks = store.update_with_events([change for _, change in statement])
        for transition, change in statement:
            if change.pk in applied_pks and change.event is not None:
                transition.event, transition.refusal = change.event, None
                vars(transition.task).update(change.columns)
                remember_schedule(transition.task, change.columns)
                applied.append((transition, change.event))
    return applied


def _build_change(transition: Transition, row: Any, using: str, moment: datetime) -> Change:
    """What ``move`` makes of ``row`` then; raises TransitionRefused if that needs a closer look."""
    writes_other_tables = not all(
        has_column(table_model(type(transition.task)), name) for name in transition.values
    )
    if writes_other_tables or has_no_events(row) or transition.mismatches(row):
        raise StaleTask(f"{transition.task._meta.label} {row['pk']} has to be read.")
    event = plan_event(transition, row, using, moment)
    return Change(row["pk"], row["sequence"], plan_columns(transition, event, row, using), event)

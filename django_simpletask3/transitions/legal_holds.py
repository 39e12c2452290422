"""Legal holds: the tasks of which nothing may be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..exceptions import TaskHeld
from ..ledger.event import events_of
from ..ledger.task_row import task_name
from ..states import EventKind

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow


def pks_on_hold(root: type[TaskRow], using: str, pks: Iterable[object]) -> set[object]:
    """Those of ``pks`` that are on hold; also of deleted rows.

    To be sure, lock the rows first: a hold is an event, and events need that lock.
    """
    hold_events = events_of(root, using).filter(
        task__in=list(pks), kind__in=[EventKind.HOLD, EventKind.LIFT]
    )
    last_kinds = dict(hold_events.values_list("task_id", "kind"))
    return {pk for pk, kind in last_kinds.items() if kind == EventKind.HOLD}


def reject_held(root: type[TaskRow], using: str, task: TaskRow) -> None:
    """Raise TaskHeld if there is a hold on ``task``."""
    if pks_on_hold(root, using, [task.pk]):
        raise TaskHeld(
            f"{task_name(task)} is on legal hold: nothing of it is deleted. "
            "Lift the hold first: task.lift(reason)."
        )

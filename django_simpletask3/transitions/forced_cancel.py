"""Cancel tasks by force: their workers end task functions that do not stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..exceptions import IllegalTransition, StopReason
from ..ledger.stop_signal import request_stop
from ..ledger.task_row import TaskRow
from ..states import EventKind, Status
from .transition import Transition
from .writer import apply_all

#: The key of ``data`` by which a worker knows that a cancel is by force.
FORCED = "forced"


def cancel_by_force(
    tasks: Sequence[TaskRow],
    reason: str,
    apply: Callable[[list[Transition]], object] = apply_all,
) -> list[Transition]:
    """Cancel ``tasks`` by force; of each the transition, which has an event or a refusal.

    A task that is canceled already, whose function may still run, gets a ``note``. ``apply``
    applies transitions, as ``apply_all`` does.
    """
    cancels = [_forced(task, EventKind.CANCEL, reason) for task in tasks]
    apply(cancels)
    notes = {
        id(cancel): _forced(cancel.task, EventKind.NOTE, reason, {"status": Status.CANCELED})
        for cancel in cancels
        if isinstance(cancel.refusal, IllegalTransition)
    }
    if notes:
        apply([*notes.values()])
    results = [notes.get(id(cancel), cancel) for cancel in cancels]
    for transition in results:
        if transition.event is not None:
            request_stop(transition.task, StopReason.CANCELED)
    return [r if r.event is not None else c for r, c in zip(results, cancels, strict=True)]


def _forced(
    task: TaskRow, kind: EventKind, reason: str, expected: dict[str, Any] | None = None
) -> Transition:
    return Transition(task, kind, reason=reason, data={FORCED: True}, expected=expected or {})

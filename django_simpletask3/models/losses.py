"""How often tasks have lost their worker, by their events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..ledger.event import events_of
from ..states import EventKind, Status, kinds_where
from .task import SimpleTask

#: Each of these resets the counts.
_RESET_KINDS = kinds_where(lambda spec: spec.resets_attempts)


@dataclass(slots=True)
class Losses:
    """The losses of one task in a row.

    ``claims`` were lost with the worker and are charged to the task. ``processes`` ended, or stood
    still, while they ran it: the task may be the cause.
    """

    claims: int = 0
    processes: int = 0


def losses_of(root: type[SimpleTask], using: str, pks: Sequence[object]) -> dict[object, Losses]:
    """The losses of the tasks in the table ``root`` with these keys, in one query."""
    kinds = [EventKind.RECOVER, EventKind.RELEASE, *_RESET_KINDS]
    stream = events_of(root, using).filter(task__in=pks, kind__in=kinds)
    losses: dict[object, Losses] = defaultdict(Losses)
    for pk, kind, from_status, data in stream.values_list("task_id", "kind", "from_status", "data"):
        if kind in _RESET_KINDS:
            losses[pk] = Losses()
        elif kind == EventKind.RECOVER and from_status == Status.RUNNING:
            losses[pk].claims += 1
        count = data.get("process_losses") if isinstance(data, dict) else None
        if isinstance(count, int):
            losses[pk].processes = count
    return losses

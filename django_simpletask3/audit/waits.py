"""Audit tasks that wait for others: a group will serve each of them, and each end is counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q

from ..dependencies.counting import link_state
from ..dependencies.serving import serve
from ..dependencies.tables import (
    DependentState,
    GroupState,
    LinkState,
    dependents_of,
    groups_of,
    links_of,
    set_link_state,
)
from ..ledger.event import events_of
from ..ledger.task_row import all_rows
from ..models.task import SimpleTask
from ..states import FINAL, EventKind, Status
from ..transitions import writer
from ..transitions.transition import Transition

#: Key of a task and what is wrong.
Problem = tuple[Any, str]

_ORPHANED = "it waits for a group that will not release it"
_UNCOUNTED = "tasks wait for it, and its end was not counted"


def find_problems(
    root: type[SimpleTask], using: str, pks: Sequence[Any], *, repair: bool
) -> Iterator[Problem]:
    """Yield what is wrong with these tasks; ``repair`` unblocks or counts them.

    Each is looked at again while its row is locked: a transition may be under way.
    """
    for find, mend, text in (
        (_orphaned, _unblock, _ORPHANED),
        (_uncounted, _count, _UNCOUNTED),
    ):
        for pk in find(root, using, pks):
            with transaction.atomic(using=using):
                writer.lock(root, using, [pk])
                is_confirmed = bool(find(root, using, [pk]))
                if is_confirmed and repair:
                    mend(root, using, pk)
            if is_confirmed:
                yield pk, text
    if repair:
        serve(using, seconds=math.inf)


def _orphaned(root: type[SimpleTask], using: str, pks: Iterable[Any]) -> list[Any]:
    """The keys of tasks that are BLOCKED by a group which is served, or is not there."""
    blocked = all_rows(root, using).filter(pk__in=pks, status=Status.BLOCKED)
    blocks = events_of(root, using).filter(
        task__in=list(blocked.values_list("pk", flat=True)), kind=EventKind.BLOCK
    )
    # The last one counts: the events are in order.
    data = dict(blocks.values_list("task_id", "data"))
    by_group = [pk for pk, value in data.items() if isinstance(value, dict) and "group" in value]
    waiting = dependents_of(using).filter(
        ~Q(group__state=GroupState.SERVED),
        model=root._meta.label,
        task_key__in=list(map(str, by_group)),
        state=DependentState.WAITING,
    )
    waiting_keys = set(waiting.values_list("task_key", flat=True))
    return [pk for pk in by_group if str(pk) not in waiting_keys]


def _unblock(root: type[SimpleTask], using: str, pk: Any) -> None:
    dependents = dependents_of(using).filter(model=root._meta.label, task_key=str(pk))
    waiting = dependents.filter(state=DependentState.WAITING)
    groups = groups_of(using).filter(pk__in=list(waiting.values_list("group", flat=True)))
    if groups.update(state=GroupState.TO_BE_SERVED):
        return
    task = all_rows(root, using).get(pk=pk)
    writer.apply_all([Transition(task, EventKind.UNBLOCK, reason="orphaned")], using=using)


def _uncounted(root: type[SimpleTask], using: str, pks: Iterable[Any]) -> list[Any]:
    """The keys of tasks that have ended, or are gone, and whose links are open."""
    keys = {str(pk): pk for pk in pks}
    links = links_of(using).filter(model=root._meta.label, task_key__in=keys, state=LinkState.OPEN)
    pending = {keys[key] for key in links.values_list("task_key", flat=True) if key in keys}
    rows = all_rows(root, using).filter(pk__in=pending).exclude(status__in=FINAL)
    return sorted(pending - set(rows.values_list("pk", flat=True)), key=str)


def _count(root: type[SimpleTask], using: str, pk: Any) -> None:
    row = all_rows(root, using).filter(pk=pk).first()
    has_succeeded = link_state(row.status if row else None) == LinkState.SUCCEEDED
    state = LinkState.HAS_SUCCEEDED if has_succeeded else LinkState.HAS_FAILED
    links = links_of(using).filter(model=root._meta.label, task_key=str(pk))
    set_link_state(links.filter(state=LinkState.OPEN), state)

"""Count the ends of prerequisites in their groups: each link once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from django.db import transaction

from ..db.loading import pks_by_key
from ..db.locks import begin_write
from ..ledger.task_row import all_rows
from ..states import Status
from .tables import (
    GroupState,
    LinkState,
    OnFailure,
    PrerequisiteGroup,
    TaskPrerequisite,
    groups_of,
    links_of,
    links_to_count,
    lock_rows,
    model_of,
    set_link_state,
)

_BATCH_SIZE = 500

#: The new state of each link.
_Counted = dict[int, LinkState]


def count(
    links: Iterable[tuple[TaskPrerequisite, LinkState]], using: str
) -> list[PrerequisiteGroup]:
    """Count ``links``, which are locked, as FAILED, SUCCEEDED or, after a reset, OPEN.

    Call it in a transaction, which locks the groups until it ends. Returns the groups whose
    dependents have to be served.
    """
    links = sorted(links, key=lambda pair: pair[0].pk)
    # Before the groups are locked, which others may wait for.
    _update_links({link.pk: end for link, end in links if link.state != LinkState.FAILED}, using)
    ids = {link.group_id for link, _ in links}
    groups = {group.pk: group for group in lock_rows(groups_of(using).filter(id__in=ids))}
    counted: _Counted = {}
    has_counted = False
    for link, end in links:
        if (group := groups.get(link.group_id)) is not None and _count(group, link, end):
            has_counted = True
            if link.state == LinkState.FAILED:
                counted[link.pk] = end
    if has_counted:
        _update_links(counted, using)
        _update_groups(list(groups.values()), using)
    return [group for group in groups.values() if group.state == GroupState.TO_BE_SERVED]


def _update_groups(groups: Sequence[PrerequisiteGroup], using: str) -> None:
    if len(groups) > 1:
        groups_of(using).bulk_update(groups, ["missing", "failed", "state"], batch_size=_BATCH_SIZE)
        return
    for group in groups:
        groups_of(using).filter(pk=group.pk).update(
            missing=group.missing, failed=group.failed, state=group.state
        )


def count_marked(using: str, limit: int = _BATCH_SIZE) -> int:
    """Count links whose end others have only marked, in one transaction; returns how many."""
    marked = links_to_count(using)
    with transaction.atomic(using=using):
        begin_write(TaskPrerequisite, using)
        links = lock_rows(marked, limit=limit, skip_locked=True)
        was_reset = [link for link in links if link.state == LinkState.WAS_RESET]
        statuses = lock_statuses(was_reset, using)
        pairs = ((link, _end_of(link, statuses)) for link in links)
        to_count = [(link, end) for link, end in pairs if end is not None]
        count(to_count, using)
    return len(to_count)


def _end_of(
    link: TaskPrerequisite, statuses: Mapping[tuple[str, str], Status | None]
) -> LinkState | None:
    """The state to be counted; None if another transaction has locked the task that was reset."""
    if link.state != LinkState.WAS_RESET:
        return LinkState.FAILED if link.state == LinkState.HAS_FAILED else LinkState.SUCCEEDED
    key = (link.model, link.task_key)
    return link_state(statuses[key]) if key in statuses else None


def lock_statuses(
    links: Iterable[TaskPrerequisite], using: str
) -> dict[tuple[str, str], Status | None]:
    """The statuses of the tasks of ``links``, whose rows are locked; None for deleted ones.

    Tasks that another transaction has locked are left out, and those of unknown models.
    """
    keys: dict[str, list[str]] = {}
    for link in links:
        keys.setdefault(link.model, []).append(link.task_key)
    statuses: dict[tuple[str, str], Status | None] = {}
    for label in sorted(keys):
        if (root := model_of(label)) is None:
            continue
        rows = all_rows(root, using).filter(pk__in=pks_by_key(root, keys[label]).values())
        found = {
            str(row.pk): row.status for row in lock_rows(rows.only("status"), skip_locked=True)
        }
        busy = set(map(str, rows.exclude(pk__in=found).values_list("pk", flat=True)))
        statuses |= {(label, key): found.get(key) for key in keys[label] if key not in busy}
    return statuses


def link_state(status: Status | None) -> LinkState:
    """The state of a link to a task in ``status``; None is a task that was deleted."""
    if status is not None and not status.is_final:
        return LinkState.OPEN
    return LinkState.SUCCEEDED if status is Status.SUCCESS else LinkState.FAILED


def _count(group: PrerequisiteGroup, link: TaskPrerequisite, end: LinkState) -> bool:
    """Change the counters of ``group``; False if the link was counted before, for good."""
    was_failed = link.state in (LinkState.FAILED, LinkState.WAS_RESET)
    waits_on = group.on_failure == OnFailure.WAIT
    if link.state == LinkState.FAILED and not waits_on:
        return False
    group.failed += (end == LinkState.FAILED) - was_failed
    group.missing += _is_missing(end, waits_on) - _is_missing(
        LinkState.FAILED if was_failed else LinkState.OPEN, waits_on
    )
    if link.state == LinkState.WAS_RESET or _is_to_be_served(group):
        group.state = GroupState.TO_BE_SERVED
    return True


def _is_missing(state: LinkState, waits_on: bool) -> bool:
    return state == LinkState.OPEN or (state == LinkState.FAILED and waits_on)


def _update_links(counted: _Counted, using: str) -> None:
    for state in sorted(set(counted.values())):
        ids = [key for key, end in counted.items() if end == state]
        set_link_state(links_of(using).filter(id__in=ids), state)


def _is_to_be_served(group: PrerequisiteGroup) -> bool:
    return group.state == GroupState.WAITING and (
        not group.missing or (group.failed > 0 and group.on_failure == OnFailure.CANCEL)
    )

"""Delete what is left of dependents that were deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..batches import batches
from ..db.loading import pks_by_key
from ..ledger.task_row import all_rows, known_tables
from .tables import TaskDependent, dependents_of, groups_of, links_of, model_of

_BATCH_SIZE = 500


def delete_unused(using: str, may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete the rows of dependents whose tasks are gone, and groups that have no others.

    Returns how many dependents. Works in batches, each in autocommit, until ``may_go_on`` is false;
    what is left is found by the next call.
    """
    count, after_id = 0, 0
    # What a newer node has enqueued, and this one cannot look for, is not gone.
    known = dependents_of(using).filter(model__in=known_tables())
    while may_go_on():
        page = list(known.filter(id__gt=after_id).order_by("id")[:_BATCH_SIZE])
        if gone := _without_task(page, using):
            _delete(gone, using)
            count += len(gone)
        if len(page) < _BATCH_SIZE:
            break
        after_id = page[-1].pk
    return count


def delete_dependents(keys: Iterable[tuple[str, str]], using: str) -> None:
    """Delete what is left of dependents with these labels and keys, before new ones have them."""
    by_label: dict[str, list[str]] = {}
    for label, key in keys:
        by_label.setdefault(label, []).append(key)
    for label, all_keys in by_label.items():
        for batch in batches(all_keys, _BATCH_SIZE):
            if left := list(dependents_of(using).filter(model=label, task_key__in=batch)):
                _delete(left, using)


def _without_task(dependents: Iterable[TaskDependent], using: str) -> list[TaskDependent]:
    by_label: dict[str, dict[str, TaskDependent]] = {}
    for dependent in dependents:
        by_label.setdefault(dependent.model, {})[dependent.task_key] = dependent
    gone: list[TaskDependent] = []
    for label, by_key in by_label.items():
        existing: set[str] = set()
        if (root := model_of(label)) is not None:
            pks = pks_by_key(root, by_key).values()
            found = all_rows(root, using).filter(pk__in=pks).values_list("pk", flat=True)
            existing = set(map(str, found))
        gone += [dependent for key, dependent in by_key.items() if key not in existing]
    return gone


def _delete(gone: Iterable[TaskDependent], using: str) -> None:
    ids = {dependent.pk for dependent in gone}
    groups = {dependent.group_id for dependent in gone}
    others = dependents_of(using).filter(group__in=groups).exclude(id__in=ids)
    unused = groups - set(others.values_list("group", flat=True))
    links = links_of(using).filter(group__in=unused).order_by("id")
    while page := list(links.values_list("id", flat=True)[:_BATCH_SIZE]):
        links_of(using).filter(id__in=page).delete()
    groups_of(using).filter(id__in=unused).delete()
    # Last: they lead to the rest.
    dependents_of(using).filter(id__in=ids).delete()

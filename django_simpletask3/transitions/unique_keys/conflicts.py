"""Enqueue tasks of which another one may have the unique key, as ``Unique.on_conflict`` says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction

from ...db.conflicts import repeat_on_conflict
from ...exceptions import DuplicateTask
from ...ledger.task_row import TaskRow, task_reference
from ...states import WAITING, EventKind
from .. import writer
from ..restore import restore_on_error
from ..transition import Transition
from . import compute
from .holders import duplicate_of, find

T = TypeVar("T", bound=TaskRow)

#: Inserts new tasks of one model.
Insert = Callable[[list[Any]], object]
#: Tasks by their unique keys.
Holders = Mapping[UUID, Any]

#: How often an insert is tried while others take the same key, one after the other.
_ATTEMPTS = 100


def insert_or_resolve(tasks: list[T], using: str, insert: Insert) -> list[T]:
    """Insert new ``tasks``, all of one model, by calling ``insert``; those that there are now.

    They are in the same order: a task that existed in the place of one that joins it. Raises
    DuplicateTask, and inserts nothing, if one is refused.
    """
    unique = compute.declaration(type(tasks[0])) if tasks else None
    on_conflict = (tasks[0]._on_conflict if tasks else None) or (unique and unique.on_conflict)
    if on_conflict is None or on_conflict == "refuse":
        insert(tasks)
        return tasks
    if len(tasks) == 1:
        with suppress(DuplicateTask):
            insert(tasks)
            return tasks
    new = _NewTasks(tasks, [compute.key_of_new(task) for task in tasks], using, insert)
    resolve = _join if on_conflict == "join" else _replace
    holders = new.find_holders()
    for _ in range(_ATTEMPTS):
        with suppress(DuplicateTask):
            return resolve(new, holders)
        # Others have taken a key meanwhile.
        holders = new.find_holders() or new.find_holders(is_locking=True)
        if on_conflict == "replace":
            _reject_started(new.pairs_with(holders))
    return resolve(new, holders)


@dataclass(frozen=True, slots=True)
class _NewTasks:
    """The tasks of one call, all of one model, and their keys."""

    tasks: list[Any]
    keys: Sequence[UUID | None]
    using: str
    insert_all: Insert

    def find_holders(self, *, is_locking: bool = False) -> dict[UUID, Any]:
        """The tasks that have the keys."""
        keys = [key for key in dict.fromkeys(self.keys) if key is not None]
        return find(type(self.tasks[0]), self.using, keys, is_locking=is_locking)

    def insert(self, tasks: list[Any]) -> None:
        """Insert ``tasks``, some of these, whose keys need not be computed again."""
        keys = {id(task): key for task, key in self.pairs()}
        try:
            for task in tasks:
                task._known_key = keys[id(task)]
            self.insert_all(tasks)
        finally:
            for task in tasks:
                vars(task).pop("_known_key", None)  # a column may be changed now

    def pairs(self) -> Iterator[tuple[Any, UUID | None]]:
        """Each task with its key."""
        return zip(self.tasks, self.keys, strict=True)

    def pairs_with(self, holders: Holders) -> Iterator[tuple[Any, Any]]:
        """Each task whose key one of ``holders`` has, with that."""
        return ((task, holders[key]) for task, key in self.pairs() if key and key in holders)


def _join(new: _NewTasks, holders: Holders) -> list[Any]:
    """Insert the first task of each key that no task has; the others join."""
    owners = dict(holders)
    first = [
        task for task, key in new.pairs() if key is None or owners.setdefault(key, task) is task
    ]
    if first:
        new.insert(first)
    inserted = set(map(id, first))
    return [
        task if key is None or id(task) in inserted else _joined(owners[key])
        for task, key in new.pairs()
    ]


def _joined(existing: Any) -> Any:
    """An instance of ``existing`` of its own: several may join the same."""
    task = copy.copy(existing)
    task.was_joined = True
    return task


def _replace(new: _NewTasks, holders: Holders) -> list[Any]:
    """Cancel the tasks that have the keys, and insert the new ones, in one transaction.

    Of several new tasks with one key, each replaces the one before.
    """
    if len(new.tasks) == 1 and not holders:
        new.insert(new.tasks)
    else:
        repeat_on_conflict(new.using, partial(_replace_in_transaction, new, holders))
    return new.tasks


def _replace_in_transaction(new: _NewTasks, holders: Holders) -> None:
    with restore_on_error(new.tasks), transaction.atomic(using=new.using):
        for group in _rounds(new.pairs()):
            _cancel([(t, holders[key]) for t, key in group if key and key in holders], new.using)
            try:
                new.insert([task for task, _ in group])
            finally:
                for task, _ in group:
                    vars(task).pop("_replaced", None)
            holders = {key: task for task, key in group if key is not None}


def _rounds(pairs: Iterable[tuple[Any, UUID | None]]) -> Iterator[list[tuple[Any, UUID | None]]]:
    """Divide the tasks so that no two with one key are together, and those of one in order."""
    remaining = list(pairs)
    while remaining:
        seen: set[UUID] = set()
        group: list[tuple[Any, UUID | None]] = []
        later: list[tuple[Any, UUID | None]] = []
        for task, key in remaining:
            (later if key in seen else group).append((task, key))
            if key is not None:
                seen.add(key)
        yield group
        remaining = later


def _reject_started(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Raise DuplicateTask if the second of a pair cannot be replaced, because it does not wait."""
    for task, existing in pairs:
        if existing.status not in WAITING:
            raise duplicate_of(existing, task)


def _cancel(pairs: Sequence[tuple[Any, Any]], using: str) -> None:
    """Cancel the second task of each pair, which the first one replaces."""
    _reject_started(pairs)
    transitions = [
        Transition(e, EventKind.CANCEL, reason="replaced", expected={"status": e.status})
        for _, e in pairs
    ]
    writer.apply_all(transitions, using=using)
    for (task, existing), transition in zip(pairs, transitions, strict=True):
        if transition.event is None:
            raise duplicate_of(existing, task)
    for task, existing in pairs:
        task._replaced = task_reference(existing)

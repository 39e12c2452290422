"""Enqueue several tasks that depend on each other: a chain, or a group and what comes after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import router

#: Any task model: this module is imported before models may be.
Task = Any


def chain(*tasks: Task, on_failure: str = "cancel") -> Chain:
    """The unsaved ``tasks``, each to run after the one before: call ``enqueue()``.

    ``on_failure`` is as of ``after()``. Raises TypeError and ValueError as ``after()`` does.
    """
    return Chain(tasks, on_failure)


def group(*tasks: Task) -> Group:
    """``tasks``, unsaved or saved ones, that other tasks are to wait for: call ``then()``.

    Raises TypeError if one is no task.
    """
    return Group(tasks)


class Chain:
    """Tasks of which each runs after the one before."""

    def __init__(self, tasks: Iterable[Task], on_failure: str = "cancel") -> None:
        from .linking import await_tasks

        self._tasks = _unsaved(tasks)
        self._is_enqueued = False
        for earlier, later in zip(self._tasks, self._tasks[1:], strict=False):
            await_tasks([later], [earlier], on_failure)

    def enqueue(self, using: str | None = None) -> list[Task]:
        """Save all tasks, in batches and one transaction, and return them in order.

        The first one is queued after the commit. ``using`` is the database; None: as the router
        says. As with Django's ``bulk_create()``, ``save()`` of the models is not called. Raises
        ValueError if it was called already, and DuplicateTask if a unique key is taken.
        """
        _reject_second_call(self._is_enqueued)
        enqueued = _enqueue(_unsaved(self._tasks), using)
        self._is_enqueued = True
        return enqueued


class Group:
    """Tasks of which others wait until all have ended."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = _each_a_task(tasks)
        self._is_enqueued = False
        self._dependents: list[Task] = []

    def then(self, *tasks: Task, on_failure: str = "cancel") -> Group:
        """Let the unsaved ``tasks`` wait for the group; returns the group, to ``enqueue()``.

        ``on_failure`` is as of ``after()``. Raises TypeError and ValueError as ``after()`` does.
        """
        from .linking import await_tasks

        if self._dependents:
            raise ValueError("then() was called already: name all tasks in one call.")
        self._dependents = _unsaved(tasks)
        await_tasks(self._dependents, self._tasks, on_failure)
        return self

    def enqueue(self, using: str | None = None) -> list[Task]:
        """Save the tasks that are not saved yet, in batches and one transaction.

        Returns the tasks of the group, and then those that wait for it. Those of the group are
        queued after the commit; if it is empty, those that wait for it are. ``using`` is the
        database; None: as the router says. As with Django's ``bulk_create()``, ``save()`` of the
        models is not called. Raises ValueError if it was called already, and DuplicateTask if a
        unique key is taken.
        """
        _reject_second_call(self._is_enqueued)
        new = _unsaved(task for task in self._tasks if task._state.adding)
        _enqueue(_unsaved([*new, *self._dependents]), using)
        self._is_enqueued = True
        return [*self._tasks, *self._dependents]


def _reject_second_call(is_enqueued: bool) -> None:
    if is_enqueued:
        raise ValueError("enqueue() was called already: the tasks are saved.")


def _each_a_task(tasks: Iterable[Task]) -> list[Task]:
    """``tasks``; raises TypeError, which says what to write, if one is something else."""
    from ..ledger.task_row import TaskRow

    found = list(tasks)
    for task in found:
        if isinstance(task, (Chain, Group)):
            raise TypeError(
                f"A {type(task).__name__} is no task: name tasks only, as in "
                "group(*tasks).then(*others)."
            )
        if not isinstance(task, TaskRow):
            raise TypeError(f"Expected tasks, not {task!r}: write chain(*tasks) or group(*tasks).")
    return found


def _unsaved(tasks: Iterable[Task]) -> list[Task]:
    """``tasks``, each of which must be new, and be named once; else ValueError is raised."""
    found = _each_a_task(tasks)
    for task in found:
        if not task._state.adding:
            raise ValueError(f"{task._meta.label} {task.pk} is saved: it cannot wait any more.")
    if len({id(task) for task in found}) < len(found):
        raise ValueError("A task is named twice.")
    return found


def _enqueue(tasks: Sequence[Task], using: str | None) -> list[Task]:
    from .linking import enqueue_all

    if not tasks:
        return []
    database = using or router.db_for_write(type(tasks[0]), instance=tasks[0])
    enqueue_all(tasks, database)
    return list(tasks)

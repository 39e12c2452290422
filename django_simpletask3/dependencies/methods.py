"""The methods of a task that waits for other tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..ledger.task_row import TaskRow, table_model, task_name
from .tables import OnFailure, may_be_prerequisite

if TYPE_CHECKING:
    from collections.abc import Iterable

Task = TypeVar("Task", bound=TaskRow)

#: The key of the data of a ``reset`` that lets canceled dependents wait again.
DEPENDENTS = "dependents"


@dataclass(frozen=True, slots=True, eq=False)
class Awaited:
    """Prerequisites: tasks that dependents which share this object wait for."""

    tasks: tuple[TaskRow, ...]
    on_failure: OnFailure

    @classmethod
    def of(cls, tasks: Iterable[TaskRow], on_failure: str) -> Awaited:
        """These prerequisites, each once. Raises TypeError if no task can wait for one."""
        if on_failure not in OnFailure.values:
            expected = ", ".join(map(repr, OnFailure.values))
            raise ValueError(f"on_failure is {on_failure!r}; expected one of {expected}.")
        prerequisites = tuple({id(task): task for task in tasks}.values())
        for task in prerequisites:
            reject_as_prerequisite(task)
        return cls(prerequisites, OnFailure(on_failure))


def after(self: Task, *prerequisites: TaskRow, on_failure: str = "cancel") -> Task:
    """Let this task, which is not saved yet, wait until ``prerequisites`` have ended.

    Returns the task: save it, or pass it to ``bulk_create()``. It is BLOCKED until all
    prerequisites, saved tasks of the same database, have succeeded. If one fails, which also means
    that it is dropped, canceled, expires or is deleted before its end, then ``on_failure`` says
    what happens: ``"cancel"`` cancels this task at once, ``"run"`` counts the failure as an end,
    and ``"wait"`` waits until that task was reset and has succeeded. Without prerequisites the task
    runs at once. Raises ValueError if the task is saved, or a prerequisite is not; TypeError if the
    model of one does not set ``django_simpletask3_can_be_awaited``.
    """
    if not self._state.adding:
        raise ValueError(f"{task_name(self)} is saved: call after() before save().")
    if self._awaited is not None:
        raise ValueError("after() was called already: name all prerequisites in one call.")
    for prerequisite in prerequisites:
        reject_as_prerequisite(prerequisite)
        if prerequisite._state.adding:
            raise ValueError(
                f"{task_name(prerequisite)} is a prerequisite: save it first, or enqueue both with "
                "chain() or group()."
            )
    self._awaited = Awaited.of(prerequisites, on_failure)
    return self


def reject_as_prerequisite(task: Any) -> None:
    """Raise TypeError unless other tasks can wait for ``task``."""
    if not isinstance(task, TaskRow):
        raise TypeError(f"A task waits for tasks, not for {task!r}: write group(*tasks).")
    root = table_model(type(task))
    if not may_be_prerequisite(type(task)):
        raise TypeError(
            f"No task can wait for tasks of {task._meta.label}: set "
            f"django_simpletask3_can_be_awaited = True on {root._meta.label}."
        )

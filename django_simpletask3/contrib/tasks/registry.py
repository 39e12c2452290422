"""The functions that may run: those that were decorated with ``@task`` in this process."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...exceptions import FunctionMissing

#: The definition of each function, by its path: the task that ``@task`` has made of it.
_definitions: dict[str, Any] = {}


def register(task: Any) -> None:
    """Let the function of ``task`` run; a function that was defined anew replaces the old one."""
    known = _definitions.get(task.module_path)
    if known is None or known.func is not task.func:
        _definitions[task.module_path] = task


def find(path: str) -> Any:
    """The definition of the function with this path; imports nothing.

    Raises FunctionMissing if no such function was decorated with ``@task`` in this process: no row
    can name another one.
    """
    try:
        return _definitions[path]
    except KeyError:
        raise FunctionMissing(
            f"{path} is no function with @task that this process has imported. Define it in the "
            'module "tasks" of an installed app, or name its module in OPTIONS["MODULES"] of TASKS.'
        ) from None


def with_values(task: Any, **values: Any) -> Any:
    """A copy of ``task`` with these values, as they are in a row: they are not validated.

    The settings may have changed since they were.
    """
    copy = object.__new__(type(task))
    for field in fields(task):
        object.__setattr__(copy, field.name, values.get(field.name, getattr(task, field.name)))
    return copy

"""The functions that may run: those that were decorated with ``@task`` in this process."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from django.core.signals import setting_changed

from ...exceptions import FunctionMissing

#: The definition of each function, by its path: the task that ``@task`` has made of it.
_definitions: dict[str, Any] = {}
_version = 0


def register(task: Any) -> None:
    """Let the function of ``task`` run; a function that was defined anew replaces the old one."""
    if known(task) is None:
        _definitions[task.module_path] = task
        _count_change()


def known(task: Any) -> Any:
    """The definition of the function of ``task``, which may be a copy of it; None if it is new."""
    definition = _definitions.get(task.module_path)
    return definition if definition is not None and definition.func is task.func else None


def paths() -> list[str]:
    """The paths of all functions."""
    return list(_definitions)


def version() -> int:
    """A number that changes with the functions, and with the settings."""
    return _version


def _count_change(setting: str = "TASKS", **_: Any) -> None:
    global _version
    if setting == "TASKS":
        _version += 1


setting_changed.connect(_count_change, dispatch_uid=__name__)


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

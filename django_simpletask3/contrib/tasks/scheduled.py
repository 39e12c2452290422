"""Functions that are called on a schedule: by ``@schedule(...)``, ``@task`` or OPTIONS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...exceptions import FunctionMissing, InvalidKey
from ...schedules.definition import Definition
from ...schedules.targets import ScheduleTarget, TargetSource
from . import policies, registry
from .models import FunctionTask, model_of


@dataclass(frozen=True, slots=True)
class FunctionTarget:
    """Calls of a function; the fields of the schedule are its keyword arguments."""

    task: Any

    @property
    def key(self) -> str:
        """The path of the function."""
        return str(self.task.module_path)

    @property
    def model(self) -> type[FunctionTask]:
        """The model of its queue."""
        return model_of(self.task.queue_name)

    def columns(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a call with these keyword arguments.

        Raises ValueError for those that the function does not take.
        """
        from .backend import columns_of_call  # needs the framework, which may be missing

        try:
            policies.arguments_of(self.task, (), fields)
            return columns_of_call(self.task, self.task.backend, (), fields)
        except (TypeError, InvalidKey) as error:
            raise ValueError(str(error)) from None


def _target_of(declared_on: Any) -> ScheduleTarget | None:
    is_ours = hasattr(declared_on, "module_path") and registry.known(declared_on) is not None
    return FunctionTarget(declared_on) if is_ours else None


def _find(key: str) -> ScheduleTarget | None:
    try:
        return FunctionTarget(registry.find(key))
    except FunctionMissing:
        return None


def _all() -> Iterator[ScheduleTarget]:
    return filter(None, map(_find, registry.paths()))


def _declared() -> Iterator[tuple[Any, Definition]]:
    for path in registry.paths():
        task = registry.find(path)
        for one in policies.schedules_of(path, task.backend):
            yield task, one.definition


SOURCE = TargetSource(_target_of, _find, _all, _declared)

"""What a schedule enqueues: tasks of a model, or of what another package registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from ..ledger.columns import BOOKKEEPING, managed_columns
from ..ledger.task_row import TaskRow
from .definition import Definition

#: Operational columns that the fields of a schedule may set, as those of ``save()`` may.
_MAY_BE_SET = {"run_after", "priority", "expires_at"}


class ScheduleTarget(Protocol):
    """What a schedule enqueues.

    A package that runs something else than the ``do_task()`` of a model makes targets of its own,
    and registers them with ``register_targets()``.
    """

    @property
    def key(self) -> str:
        """The name by which rows know it, such as ``app.Report``: the same in every process."""

    @property
    def model(self) -> type[TaskRow]:
        """The model of its tasks."""

    def columns(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a new task, of what the schedule calls ``fields``.

        Raises ValueError, with a sentence for the author of the schedule, for fields that it does
        not take.
        """


@dataclass(frozen=True, slots=True)
class TargetSource:
    """Where targets of one kind come from.

    ``of`` returns the target of what ``@schedule`` was called with, None if it is of another kind;
    ``find`` that with a key, None if there is none; ``all`` those that operators may choose from;
    ``declared`` schedules that are declared otherwise than by ``@schedule``, each with what has it.
    """

    of: Callable[[Any], ScheduleTarget | None]
    find: Callable[[str], ScheduleTarget | None]
    all: Callable[[], Iterable[ScheduleTarget]] = tuple
    declared: Callable[[], Iterable[tuple[Any, Definition]]] = tuple


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The tasks of a model, with these columns."""

    model: type[TaskRow]

    @property
    def key(self) -> str:
        return self.model._meta.label

    def columns(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._column(name, value) for name, value in fields.items())

    def _column(self, name: str, value: Any) -> tuple[str, Any]:
        try:
            column: Any = self.model._meta.get_field(name)
        except FieldDoesNotExist:
            column = next((f for f in self.model._meta.fields if f.attname == name), None)
        if column is None or not getattr(column, "concrete", False) or column.many_to_many:
            raise ValueError(f"{name} is no column of {self.key}")
        managed = (managed_columns(self.model) | BOOKKEEPING) - _MAY_BE_SET
        if column.name in managed or column.generated:
            raise ValueError(f"{name} of {self.key} is not written by you")
        is_key = column.is_relation and not isinstance(value, models.Model)
        return (column.attname if is_key else column.name), value


def _model_target(declared_on: Any) -> ModelTarget | None:
    is_model = isinstance(declared_on, type) and issubclass(declared_on, TaskRow)
    return ModelTarget(declared_on) if is_model else None


def _find_model(key: str) -> ModelTarget | None:
    try:
        return _model_target(apps.get_model(key))
    except (LookupError, ValueError):
        return None


def _all_models() -> Iterator[ModelTarget]:
    """Models whose tasks are saved by their columns: not those of functions."""
    models_of_tasks: list[Any] = [m for m in apps.get_models() if issubclass(m, TaskRow)]
    return (ModelTarget(model) for model in models_of_tasks if not model._model_columns)


_sources = [TargetSource(_model_target, _find_model, _all_models)]


def register_targets(source: TargetSource) -> None:
    """Let schedules enqueue what ``source`` knows; call it in ``ready()``."""
    if source not in _sources:
        _sources.append(source)


def target_of(declared_on: Any) -> ScheduleTarget | None:
    """The target of what ``@schedule`` was called with; None if no source knows it."""
    return next(filter(None, (source.of(declared_on) for source in _sources)), None)


def find_target(key: str) -> ScheduleTarget | None:
    """The target with that key; None if it is gone."""
    return next(filter(None, (source.find(key) for source in _sources)), None)


def all_targets() -> list[ScheduleTarget]:
    """What operators may choose as the target of an own schedule, by key."""
    targets = [target for source in _sources for target in source.all()]
    return sorted(targets, key=lambda target: target.key)


def declared_elsewhere() -> list[tuple[Any, Definition]]:
    """The schedules of all sources that are declared otherwise than by ``@schedule``."""
    return [declared for source in _sources for declared in source.declared()]


def build_task(target: ScheduleTarget, fields: Mapping[str, Any]) -> Any:
    """A new task of ``target``, which is not saved; raises ValueError for wrong fields."""
    return cast("Any", target.model)(**target.columns(fields))

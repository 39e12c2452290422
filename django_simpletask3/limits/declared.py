"""The limits that the task models of this project declare."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError

from ..exceptions import InvalidKey
from ..ledger.task_row import TaskRow, table_model
from ..transitions.keys import fields_in
from .limit import Limit


def limit_of(task: TaskRow) -> Limit | None:
    """The limit of ``task``, or None. Raises TypeError for what is no Limit."""
    limit = task.django_simpletask3_limit
    if limit is None or isinstance(limit, Limit):
        return limit
    label = task._meta.label
    raise TypeError(f"django_simpletask3_limit of {label} is {limit!r}; expected Limit(...).")


def check_key(task: TaskRow) -> None:
    """Raise InvalidKey if the limit of ``task`` cannot make a key of its columns."""
    if (limit := limit_of(task)) is not None:
        limit.key_of(task)
        limit.fair_key_of(task)


def clean_key(task: TaskRow, exclude: Collection[str] | None) -> None:
    """Raise ValidationError if the limit cannot make a key of the columns of ``task``.

    Not if one of these is among ``exclude``, the fields that are not validated.
    """
    limit = limit_of(task)
    fields = [f for each in limit.templates for f in fields_in(type(task), each)] if limit else []
    if limit is None or has_expressions(task, limit) or not set(exclude or ()).isdisjoint(fields):
        return
    try:
        check_key(task)
    except InvalidKey as error:
        raise ValidationError(str(error)) from error


def has_key(task: TaskRow, limit: Limit) -> bool:
    """Whether ``limit`` holds for ``task``.

    Not if a column of the key is None; and if no key can be made, its function is not called.
    """
    try:
        limit.fair_key_of(task)
        return limit.key_of(task) is not None
    except InvalidKey:
        return False


def has_expressions(task: TaskRow, limit: Limit) -> bool:
    """Whether the database has still to compute a column that ``limit`` needs."""
    fields = [f for each in limit.templates for f in fields_in(type(task), each).values()]
    return any(hasattr(getattr(task, f.attname), "resolve_expression") for f in fields)


def has_limit(model: type[TaskRow]) -> bool:
    """Whether ``model`` or another one that shares its table has a limit."""
    return any(other._declared_limits() for other in _models_of(table_model(model)))


def limit_name(task: TaskRow) -> str:
    """The name under which the gates of ``task`` stand: that of its limit, else its table's."""
    limit = limit_of(task)
    return (limit.name if limit else "") or table_model(type(task))._meta.label


def limits_by_name() -> dict[str, Limit]:
    """All limits, by name."""
    return {
        limit.name or table_model(model)._meta.label: limit
        for model in limited_models()
        for limit in model._declared_limits()
        if isinstance(limit, Limit)
    }


def limited_models() -> Iterator[type[TaskRow]]:
    """The task models that have a limit."""
    models: Iterator[Any] = iter(apps.get_models())
    return (m for m in models if issubclass(m, TaskRow) and m._declared_limits())


@lru_cache(maxsize=1000)
def _models_of(root: type[TaskRow]) -> tuple[type[TaskRow], ...]:
    models: Iterator[Any] = iter(apps.get_models())
    return tuple(m for m in models if issubclass(m, TaskRow) and table_model(m) is root)

"""The three kinds of columns of a task: projected, operational, and the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from ..exceptions import ProjectedColumn
from .projection import PROJECTED
from .task_row import TaskRow, has_expiry, has_unique_key, task_name

BOOKKEEPING = frozenset(
    {"add_time", "mod_time", "run_after", "priority", "worker", "check_at", "parent"}
)

#: Columns that users do not write: the state, worker and ``check_at``, and the parent. Of a model
#: whose tasks expire or are unique, ``managed_columns`` names more.
MANAGED = frozenset({*PROJECTED, "worker", "check_at", "parent"})

#: Columns that users and transitions write: an old instance must not undo a transition.
SCHEDULE = frozenset({"run_after", "priority"})

_REFUSAL = (
    "{columns} cannot be written: the state machine does that. Use reset(), cancel() or note() to "
    "move a task."
)
#: Of an instance: the names and values that were loaded, and the values written since.
KNOWN_ATTRIBUTE = "_known_columns"
_NOTHING_KNOWN: tuple[Sequence[str], Sequence[Any], dict[str, Any]] = ((), (), {})


@lru_cache(maxsize=1000)
def managed_columns(model: type[TaskRow]) -> frozenset[str]:
    """The columns of ``model`` that only the state machine writes once there is a row."""
    return MANAGED.union(mixin_columns(model))


@lru_cache(maxsize=1000)
def mixin_columns(model: type[TaskRow]) -> tuple[str, ...]:
    """The columns that ExpiringTask and UniqueTask add, as far as ``model`` is one of these."""
    expiry = ("expires_at",) if has_expiry(model) else ()
    return (*expiry, "unique_key") if has_unique_key(model) else expiry


def reject_managed(model: type[TaskRow], names: Iterable[str]) -> None:
    """Raise ProjectedColumn if one of ``names`` is a column that only the state machine writes."""
    if forbidden := sorted(managed_columns(model).intersection(names)):
        raise ProjectedColumn(_REFUSAL.format(columns=", ".join(forbidden)))


def reject_assigned(task: TaskRow, *, is_new: bool = False) -> None:
    """Raise ProjectedColumn if a managed column was assigned since ``task`` was read or written.

    What a stale instance holds was not assigned. A new task may be given the time at which it
    expires.
    """
    if is_new and is_as_made(task):
        return
    attributes = vars(task)
    by_name = dict(zip(_MANAGED_NAMES, _managed_defaults(type(task)), strict=True))
    known = {**by_name, "expires_at": None, "unique_key": None, **_known_columns(task)}
    assigned = [
        name
        for name in sorted(_managed(type(task), is_new) & attributes.keys() & known.keys())
        if attributes[name] != known[name]
        and not (is_new and name in by_name and attributes[name] == by_name[name])
    ]
    if assigned:
        columns = f"{', '.join(assigned)} of {task_name(task)}"
        raise ProjectedColumn(_REFUSAL.format(columns=columns))


def is_as_made(task: TaskRow) -> bool:
    """Whether the managed columns of ``task`` are those of a new instance, and no copy of a row."""
    attributes = vars(task)
    return (
        KNOWN_ATTRIBUTE not in attributes
        and _get_managed(attributes) == _managed_defaults(type(task))
        and attributes.get("unique_key") is None
    )


def _managed(model: type[TaskRow], is_new: bool) -> frozenset[str]:
    return managed_columns(model) - {"expires_at"} if is_new else managed_columns(model)


def remember_loaded(task: TaskRow, names: Sequence[str], values: Sequence[Any]) -> None:
    """Remember that the row of ``task`` holds these columns."""
    vars(task)[KNOWN_ATTRIBUTE] = (names, values, {})


def remember_columns(task: TaskRow, names: Iterable[str] | None = None) -> None:
    """Remember the values of those of ``names`` that users may not assign: the row holds them."""
    attributes, watched = vars(task), _watched_columns(type(task))
    loaded_names, values, written = attributes.get(KNOWN_ATTRIBUTE, _NOTHING_KNOWN)
    chosen = watched if names is None else watched.intersection(names)
    current = {name: attributes[name] for name in chosen if name in attributes}
    # Another object: copies of the instance share the one before.
    attributes[KNOWN_ATTRIBUTE] = (loaded_names, values, {**written, **current})


def remember_written(task: TaskRow, columns: Mapping[str, Any]) -> None:
    """Remember that the row of ``task`` holds ``columns``, which a transition has written."""
    attributes = vars(task)
    names, values, written = attributes.get(KNOWN_ATTRIBUTE, _NOTHING_KNOWN)
    attributes[KNOWN_ATTRIBUTE] = (names, values, {**written, **columns})


def remember_alike(tasks: Sequence[TaskRow]) -> None:
    """``remember_columns`` of new tasks of a model whose projected columns are the same."""
    known: dict[int, Any] = {}
    for task in tasks:
        attributes = vars(task)
        remembered = known.get(id(attributes["priority"]))
        if remembered is None:
            remember_columns(task)
            known[id(attributes["priority"])] = attributes[KNOWN_ATTRIBUTE]
        else:
            attributes[KNOWN_ATTRIBUTE] = remembered


@lru_cache(maxsize=1000)
def _watched_columns(model: type[TaskRow]) -> frozenset[str]:
    return managed_columns(model) | SCHEDULE


def is_as_loaded(task: TaskRow, name: str) -> bool:
    """Whether the column ``name`` of ``task`` has the value that was read or written last."""
    known = _known_columns(task)
    return name in known and known[name] == vars(task).get(name)


def changed_schedule_fields(task: TaskRow) -> set[str]:
    """The columns of SCHEDULE that were changed on the instance since it was read."""
    attributes, known = vars(task), _known_columns(task)
    return {n for n in SCHEDULE & attributes.keys() if n not in known or known[n] != attributes[n]}


def _known_columns(task: TaskRow) -> dict[str, Any]:
    names, values, written = vars(task).get(KNOWN_ATTRIBUTE, _NOTHING_KNOWN)
    return {**dict(zip(names, values, strict=True)), **written}


#: ``check_at`` of a new instance is the time at which it was made.
_MANAGED_NAMES = tuple(sorted(MANAGED - {"check_at"}))


def _get_managed(attributes: dict[str, Any]) -> tuple[Any, ...] | None:
    try:
        return _managed_values(attributes)
    except KeyError:  # deferred
        return None


_managed_values: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*_MANAGED_NAMES)


@lru_cache(maxsize=1000)
def _managed_defaults(model: type[TaskRow]) -> tuple[Any, ...]:
    meta: Any = model._meta
    return tuple(meta.get_field(name).get_default() for name in _MANAGED_NAMES)


def auto_now_fields(task: TaskRow) -> set[str]:
    """The time columns that ``update_or_create()`` adds to those it was given."""
    return {
        field.name
        for field in task._meta.local_concrete_fields
        if not field.primary_key and type(field).pre_save is not models.Field.pre_save
    }


#: ``pre_save()`` of the fields that may have ``auto_now`` or ``auto_now_add``.
_MAY_BE_NOW = (
    models.DateField.pre_save,
    models.DateTimeField.pre_save,
    models.TimeField.pre_save,
)


def is_saved_unchanged(field: Any) -> bool:
    """Whether ``field`` is saved without ``pre_save()`` changing it."""
    if type(field).pre_save in _MAY_BE_NOW:
        return not (field.auto_now or field.auto_now_add)
    return type(field).pre_save is models.Field.pre_save


@lru_cache(maxsize=10_000)
def has_column(model: type[models.Model], name: str) -> bool:
    """Whether the table of ``model`` itself, not that of a parent or child, has the column."""
    try:
        column: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return bool(column.model._meta.concrete_model is model)


def user_fields(task: TaskRow) -> list[models.Field[Any, Any]]:
    """The columns that the subclass declares and that the instance has loaded."""
    loaded = vars(task)
    return [field for field in _user_fields(type(task)) if field.attname in loaded]


@lru_cache(maxsize=1000)
def _user_fields(model: type[TaskRow]) -> tuple[models.Field[Any, Any], ...]:
    return tuple(
        field
        for field in model._meta.concrete_fields
        if field.name not in BOOKKEEPING.union(PROJECTED, managed_columns(model))
        and not field.primary_key
        and not field.generated
    )

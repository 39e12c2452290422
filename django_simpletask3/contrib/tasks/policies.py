"""How calls of a function are treated: retries, time limit, unique key, limit, expiry, schedule.

Each but the schedule is an attribute of a task model without the prefix ``django_simpletask3_``,
and means the same.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, ClassVar

from ...conf.column_template import ColumnTemplate
from ...exceptions import FunctionMissing, InvalidKey
from ...ledger.task_row import TaskRow
from ...limits import Limit
from ...limits.limit import MAX_NAME
from ...retries import error_entries, resolve_error, seconds_of
from ...schedules.decorator import ScheduleDecorator
from ...unique import Unique
from . import registry
from .queues import as_mapping, options_of, our_backends


class Unset(Enum):
    """Says that nothing was said; None may mean "without limit"."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset.UNSET
_PREFIX = "django_simpletask3_"


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value is not True and value >= 0)


def _is_duration(value: Any) -> bool:
    return value is None or 0 < seconds_of(value) < math.inf


def _is_backoff(value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and not iscoroutinefunction(value)


def _are_errors(value: Any) -> bool:
    return all(_is_error(entry) for entry in error_entries(value))


def _is_error(entry: Any) -> bool:
    if isinstance(entry, str):  # imported when it is needed: it may import the function's module
        return bool(entry)
    try:
        return bool(resolve_error(entry))
    except LookupError:
        return False


def schedules_of(path: str, backend: str) -> list[ScheduleDecorator]:
    """The schedules of the function with this path that ``@task`` or OPTIONS name."""
    named = _as_list(policy("schedule", path, backend))
    return [one for one in named if isinstance(one, ScheduleDecorator)]


def _are_schedules(value: Any) -> bool:
    return all(isinstance(one, ScheduleDecorator) for one in _as_list(value))


def _as_list(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


#: What each may be, and whether a value is that.
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "max_retries": ("a number, or None for no limit", _is_count),
    "retry_backoff": ("Exponential(...), Fixed(...) or a function", _is_backoff),
    "retry_on": ("exception classes or their dotted paths", _are_errors),
    "no_retry_on": ("exception classes or their dotted paths", _are_errors),
    "retry_for": ("positive seconds, a timedelta or None", _is_duration),
    "max_snoozes": ("a number", lambda value: value is not None and _is_count(value)),
    "time_limit": ("positive seconds, a timedelta or None", _is_duration),
    "expires": ("positive seconds, a timedelta or None", _is_duration),
    "unique": ("Unique(...) or None", lambda value: value is None or isinstance(value, Unique)),
    "limit": ("Limit(...) or None", lambda value: value is None or isinstance(value, Limit)),
    "schedule": ("schedule(...), a list of these or None", _are_schedules),
}
NAMES = tuple(_EXPECTED)


def fault_of(name: str, value: Any) -> str:
    """What is wrong with ``value`` of the policy ``name``; empty if nothing is."""
    if name not in _EXPECTED:
        return f"there is no {name!r}; choose from {', '.join(NAMES)}"
    expected, is_valid = _EXPECTED[name]
    return "" if is_valid(value) else f"{name} is {value!r}; expected {expected}"


def faults_of_template(function: Callable[..., Any], policy: Unique | Limit) -> Iterator[str]:
    """The names in the templates of ``policy`` that are no arguments of ``function``."""
    known = inspect.signature(function).parameters
    templates = [policy.columns] if isinstance(policy, Unique) else policy.templates
    for name in (name for template in templates for name in template.names):
        if name not in known:
            yield f"{policy!r} names {name}, which is no argument of {function.__qualname__}()"


def policy(name: str, path: str, backend: str) -> Any:
    """The policy ``name`` of the function with this path, in the backend of this alias.

    OPTIONS["FUNCTIONS"] of the backend comes first, then ``@task``, then OPTIONS["DEFAULTS"].
    """
    return _policy(name, path, backend, registry.version())


@lru_cache(maxsize=5000)
def _policy(name: str, path: str, backend: str, _version: int) -> Any:
    options = options_of(our_backends().get(backend, {}))
    own = as_mapping(as_mapping(options.get("FUNCTIONS")).get(path))
    if _has_valid(name, own):
        return own[name]
    try:
        declared = getattr(registry.find(path), name, UNSET)
    except FunctionMissing:
        declared = UNSET
    if declared is not UNSET:
        return declared
    defaults = as_mapping(options.get("DEFAULTS"))
    if _has_valid(name, defaults):
        return defaults[name]
    return getattr(TaskRow, _PREFIX + name, None)


def _has_valid(name: str, values: Mapping[str, Any]) -> bool:
    """Whether ``values`` have that policy; a wrong one, which ``check`` reports, is none."""
    return name in values and not fault_of(name, values[name])


class RowPolicy:
    """An attribute of a row: the policy of its function. That of the class is the default."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, row: Any, owner: type) -> Any:
        if row is None:
            return getattr(TaskRow, _PREFIX + self.name)
        if self.name == "max_retries" and row._has_returned:
            return 0  # its result could not be kept: that is no reason to do the work again
        return policy(self.name, row.task_path, row.backend_name)


class RowLimit:
    """The limit of a row. The class has none: those of the functions are ``declared_limits()``."""

    def __get__(self, row: Any, owner: type) -> Any:
        return None if row is None else _limit(row.task_path, row.backend_name)


class RowPolicies:
    """The attributes of a row that its function decides."""

    django_simpletask3_max_retries: ClassVar[Any] = RowPolicy("max_retries")
    django_simpletask3_retry_backoff: ClassVar[Any] = RowPolicy("retry_backoff")
    django_simpletask3_retry_on: ClassVar[Any] = RowPolicy("retry_on")
    django_simpletask3_no_retry_on: ClassVar[Any] = RowPolicy("no_retry_on")
    django_simpletask3_retry_for: ClassVar[Any] = RowPolicy("retry_for")
    django_simpletask3_max_snoozes: ClassVar[Any] = RowPolicy("max_snoozes")
    django_simpletask3_time_limit: ClassVar[Any] = RowPolicy("time_limit")
    django_simpletask3_expires: ClassVar[Any] = RowPolicy("expires")
    django_simpletask3_limit: ClassVar[Any] = RowLimit()

    #: Whether the function has returned, in this process.
    _has_returned = False

    task_path: Any
    unique_text: Any
    backend_name: Any

    def get_time_limit(self) -> float | None:
        """Seconds that the function may run; None means no limit."""
        limit = self.django_simpletask3_time_limit
        return None if limit is None else seconds_of(limit)

    @property
    def _backoff(self) -> Any:
        return self.django_simpletask3_retry_backoff

    @property
    def _unique(self) -> Unique | None:
        unique: Unique | None = policy("unique", self.task_path, self.backend_name)
        return unique

    @property
    def _unique_until(self) -> Any:
        if self.unique_text is None:  # as that of most rows: there is no key
            return "started"
        return self._unique and self._unique.until

    @property
    def _on_conflict(self) -> Any:
        return self._unique and self._unique.on_conflict


def declared_limits() -> list[Limit]:
    """The limits of all functions, with their names."""
    return _declared_limits(registry.version())


@lru_cache(maxsize=1)
def _declared_limits(_version: int) -> list[Limit]:
    limits = (_limit(path, alias) for alias in our_backends() for path in registry.paths())
    return list({limit.name: limit for limit in limits if limit is not None}.values())


def is_any_unique() -> bool:
    """Whether a function has a unique key."""
    paths = registry.paths()
    return any(policy("unique", path, alias) for alias in our_backends() for path in paths)


def _limit(path: str, backend: str) -> ArgumentLimit | None:
    limit = policy("limit", path, backend)
    return None if limit is None else _argument_limit(limit, path)


@lru_cache(maxsize=1000)
def _argument_limit(limit: Limit, path: str) -> ArgumentLimit:
    return ArgumentLimit(
        running=limit.running,
        key=limit.key,
        fair_by=limit.fair_by,
        rate=limit.rate,
        name=limit.name or path[-MAX_NAME:],
    )


@dataclass(frozen=True, slots=True)
class ArgumentLimit(Limit):
    """A limit whose templates name arguments of a function."""

    @property
    def templates(self) -> tuple[ColumnTemplate, ...]:
        """None: no column of the row is named."""
        return ()

    def _fill_in(self, text: str, task: Any) -> str | None:
        template = ColumnTemplate(text)
        arguments = _arguments_of_row(task)
        values = {name: arguments.get(name) for name in template.names}
        return _filled_in(template, values, task.task_path)


def _arguments_of_row(row: Any) -> dict[str, Any]:
    """The arguments of the call; none if the function will refuse them, which limits nothing."""
    try:
        return arguments_of(registry.find(row.task_path), row.args, row.kwargs)
    except (FunctionMissing, TypeError):
        return {}


def _filled_in(template: ColumnTemplate, values: Mapping[str, Any], path: str) -> str | None:
    try:
        return template.fill_in(values)
    except Exception as error:
        raise InvalidKey(
            f"{path}: the key {template.text!r} cannot be made of {values!r}: {error}"
        ) from error


def arguments_of(task: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names, with defaults.

    Raises TypeError, as the call would, for arguments that the function does not take.
    """
    given = (None, *args) if task.takes_context else args
    try:
        bound = inspect.signature(task.func).bind(*given, **kwargs)
    except TypeError as error:
        raise TypeError(f"{task.module_path}: {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def unique_text(task: Any, backend: str, columns: Mapping[str, Any]) -> str | None:
    """What the unique key of a call is made of; None without one."""
    unique: Unique | None = policy("unique", task.module_path, backend)
    if unique is None:
        return None
    arguments = arguments_of(task, columns["args"], columns["kwargs"])
    key = _filled_in(unique.columns, arguments, task.module_path)
    return None if key is None else f"{task.module_path} {key}"

"""The schedules that the code of this project declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.apps import apps
from django.conf import settings

from ..ledger.task_row import TaskRow
from .definition import CatchUp, Definition, Fields, Overlap, digest_of, fields_as_json
from .targets import ScheduleTarget, declared_elsewhere, target_of

T = TypeVar("T")

#: Of a task model: the schedules that were declared on that class.
ATTRIBUTE = "django_simpletask3_schedules"

#: What is no task model, and has schedules.
_others: list[tuple[Any, Definition]] = []
#: The schedules that were found last, and of what.
_known: tuple[Any, dict[str, Declared]] = (None, {})


@dataclass(frozen=True, slots=True)
class Declared:
    """A schedule of the code; ``target`` is None if no source of targets knows ``declared_on``."""

    declared_on: Any
    definition: Definition
    target: ScheduleTarget | None

    @property
    def key(self) -> str:
        """The name of the schedule: that of its target, and its own if it was given one."""
        path = getattr(self.declared_on, "module_path", None)  # of a function with @task
        target = self.target.key if self.target else str(path or repr(self.declared_on))
        return f"{target}:{self.definition.name}" if self.definition.name else target

    @property
    def values(self) -> dict[str, Any]:
        """What the row of the schedule says, by its columns.

        Raises ValueError, TypeError or AttributeError if the definition has faults.
        """
        definition, target = self.definition, self.target
        is_cron = isinstance(definition.when, str)
        return {
            "target": target.key if target else "",
            "cron": definition.when if is_cron else "",
            "zone": definition.zone if is_cron else "",
            "interval": definition.when if isinstance(definition.when, timedelta) else None,
            "fields": None if callable(definition.fields) else fields_as_json(definition.fields),
            "catch_up": str(definition.catch_up),
            "overlap": str(definition.overlap),
            "jitter": definition.jitter_seconds,
            "deadline": definition.deadline_seconds,
        }

    @property
    def digest(self) -> str:
        """A text that differs if the definition does."""
        return digest_of(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class ScheduleDecorator:
    """What ``schedule()`` returns: declares its definition on what it decorates."""

    definition: Definition

    def __call__(self, declared_on: T) -> T:
        if isinstance(declared_on, type) and issubclass(declared_on, TaskRow):
            # Decorators are called from the bottom to the top: the first in the code comes first.
            own = vars(declared_on).get(ATTRIBUTE, ())
            declared_on.django_simpletask3_schedules = (self.definition, *own)
        else:
            _others.append((declared_on, self.definition))
        return declared_on


def schedule(
    when: str | timedelta,
    *,
    timezone: str | None = None,
    fields: Fields | None = None,
    name: str = "",
    catch_up: str = CatchUp.LAST,
    overlap: str = Overlap.ALLOW,
    jitter: timedelta | float = 0.0,
    deadline: timedelta | float | None = None,
    version: int = 0,
) -> ScheduleDecorator:
    """Have a task of the decorated model enqueued at each tick.

    ``when`` is a cron expression of five fields, in ``timezone`` (by default ``TIME_ZONE``), or a
    ``timedelta``, counted from 1970-01-01 00:00 UTC. ``fields`` are the columns of the new task, of
    a function its keyword arguments, or a function of the tick that returns them. A second schedule
    of a model or function needs a ``name``.

    ``catch_up``: what happens to ticks at which no node ran. ``overlap="skip"``: no task is
    enqueued while that of an earlier tick has not ended. ``jitter``: the tasks start later, by the
    same part of this time at each tick. ``deadline``: how late a tick may be fired. ``version``: a
    node whose code has a lower one does not overwrite the schedule. ``manage.py check`` reports
    wrong values; nothing is raised here.
    """
    definition = Definition(
        when, timezone, fields or {}, name, catch_up, overlap, jitter, deadline, version
    )
    return ScheduleDecorator(definition)


def declared_schedules() -> Iterator[Declared]:
    """The schedules of all task models, and of what else has some, in the order of their keys."""
    declared = [Declared(on, definition, target_of(on)) for on, definition in _all_definitions()]
    return iter(sorted(declared, key=lambda one: one.key))


def _all_definitions() -> list[tuple[Any, Definition]]:
    """What has schedules, with each of them."""
    on_models = [
        (model, definition)
        for model in apps.get_models()
        if issubclass(model, TaskRow)
        for definition in vars(model).get(ATTRIBUTE, ())
    ]
    return [*on_models, *_others, *declared_elsewhere()]


def inherited_schedules(model: type[TaskRow]) -> type[Any] | None:
    """The abstract model from which ``model`` inherits schedules, which have no effect."""
    for parent in model.__mro__[1:]:
        is_abstract = getattr(getattr(parent, "_meta", None), "abstract", False)
        if is_abstract and vars(parent).get(ATTRIBUTE):
            return parent
    return None


def known_schedules() -> dict[str, Declared]:
    """The schedules of the code that have no faults, by key; remembered while none is added."""
    global _known
    state = (_all_definitions(), settings.TIME_ZONE)
    if _known[0] != state:
        known = _find_known()
        # A function may be registered later than it is decorated.
        is_complete = len(known) == len(state[0])
        _known = (state if is_complete else None, known)
    return _known[1]


def _find_known() -> dict[str, Declared]:
    known: dict[str, Declared] = {}
    for one in declared_schedules():
        if one.target is not None and not any(one.definition.faults()) and _is_storable(one):
            known.setdefault(one.key, one)
    return known


def _is_storable(one: Declared) -> bool:
    try:
        return bool(one.digest)
    except Exception:
        return False  # fields that JSON has not, which check reports

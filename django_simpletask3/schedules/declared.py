"""The schedules that the code of this project declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings

from ..ledger.task_row import TaskRow
from . import decorator
from .decorator import ATTRIBUTE
from .definition import MAX_KEY, Definition, digest_of, fields_as_json
from .targets import ScheduleTarget, declared_elsewhere, target_of

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
    return [*on_models, *decorator.others, *declared_elsewhere()]


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
        if not _fault_of(one):
            known.setdefault(one.key, one)
    return known


def left_out() -> Iterator[tuple[str, str]]:
    """The keys of the schedules of the code that cannot be stored, each with the reason.

    ``check`` reports them, too, unless it was skipped.
    """
    keys: set[str] = set()
    for one in declared_schedules():
        if fault := _fault_of(one) or ("There are two of that key." if one.key in keys else ""):
            yield one.key, fault
        keys.add(one.key)


def _fault_of(one: Declared) -> str:
    """Why the schedule cannot be stored; empty if it can."""
    if one.target is None:
        return "It is on what is no task."
    if len(one.key) > MAX_KEY:
        return f"Its key is longer than {MAX_KEY} characters."
    for fault, _hint in one.definition.faults():
        return fault
    try:
        _ = one.digest
    except Exception as error:
        return f"Its fields cannot be stored: {error}"
    return ""

"""Checks of the schedules that the code declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from ..models.registry import task_models
from ..schedules.declared import Declared, declared_schedules, inherited_schedules
from ..schedules.definition import MAX_KEY
from ..schedules.targets import ModelTarget, ScheduleTarget
from ..schedules.validation import faults_of_fields

SCHEDULE_ID = "django_simpletask3.E125"


@register(Tags.models)
def check_schedules(
    app_configs: Sequence[AppConfig] | None = None, **_: object
) -> list[CheckMessage]:
    """Check the schedules of all task models, or of those of ``app_configs``, and of functions."""
    messages: list[CheckMessage] = []
    for declared_on, message, hint in [*_on_abstract_models(), *_faults_of_all()]:
        config = getattr(getattr(declared_on, "_meta", None), "app_config", None)
        if app_configs is None or config is None or config in app_configs:
            messages.append(Error(message, hint=hint, obj=declared_on, id=SCHEDULE_ID))
    return messages


def _on_abstract_models() -> Iterator[tuple[Any, str, str]]:
    for model in task_models():
        if (parent := inherited_schedules(model)) is not None:
            message = f"@schedule on the abstract model {parent.__name__} has no effect."
            yield model, message, "Decorate the models that derive from it, each by itself."


def _faults_of_all() -> Iterator[tuple[Any, str, str]]:
    keys: set[str] = set()
    for one in declared_schedules():
        for message, hint in _faults(one):
            yield one.declared_on, f"Schedule {one.key}: {message}", hint
        # The database may compare texts without regard to case.
        if (key := one.key.casefold()) in keys:
            message = f"There are two schedules {one.key}."
            yield one.declared_on, message, 'Give each a name: @schedule(..., name="nightly").'
        keys.add(key)


def _faults(one: Declared) -> Iterator[tuple[str, str]]:
    if one.target is None:
        hint = "Decorate a task model, or a function that is registered as a task."
        yield "it is on what is no task.", hint
        return
    name: Any = one.definition.name
    if not isinstance(name, str):
        yield f"name is {name!r}.", f"Write a text: with the model, at most {MAX_KEY} characters."
    elif len(one.key) > MAX_KEY:
        what = "its name" if name else "the name of what it is on, or of its module"
        yield f"its key is longer than {MAX_KEY} characters.", f"Shorten {what}."
    faults = list(one.definition.faults())
    yield from faults
    if not faults:
        for message in faults_of_fields(one):
            yield message, f"Correct the fields, which are {_what_fields_are(one.target)}."


def _what_fields_are(target: ScheduleTarget) -> str:
    if isinstance(target, ModelTarget):
        return f"columns of {target.model.__name__}"
    return f"arguments of {target.key}"

"""Check for misspelled settings and attributes, and for names that hide those of SimpleTask."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.db import models

from ..conf.options import all_options
from ..ledger.event import TaskEvent
from ..models.registry import task_models
from ..models.task import SimpleTask
from ..retries import Exponential, Fixed

COLUMN_ID = "django_simpletask3.E112"
ATTRIBUTE_ID = "django_simpletask3.E115"
KEY_ID = "django_simpletask3.E116"
HIDDEN_ID = "django_simpletask3.W005"
BARE_ATTRIBUTE_ID = "django_simpletask3.W002"
SETTING_ID = "django_simpletask3.W003"

_PREFIX = "django_simpletask3_"
_ATTRIBUTES = sorted(name for name in dir(SimpleTask) if name.startswith(_PREFIX))
_BARE_ATTRIBUTES = [name.removeprefix(_PREFIX) for name in _ATTRIBUTES]
_COLUMNS = {field.name for field in SimpleTask._meta.local_fields}
#: What a column, a related name or an attribute would hide.
_PUBLIC_NAMES = {
    name for name in dir(SimpleTask) if not name.startswith("_") and not hasattr(models.Model, name)
} - _COLUMNS - {"Meta"} | {"events"}
#: What the package itself asks a model or a task for, because a model may override it.
_NEEDED = {
    name
    for name in _PUBLIC_NAMES
    if name.startswith(("get_", _PREFIX)) or name in ("do_task", "objects", "events")
}
#: Names that columns should not have. The package works all the same: it calls no method by the
#: name that a column may hide.
RESERVED_NAMES = frozenset(_PUBLIC_NAMES - _NEEDED)


@register(Tags.models)
def check_names(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Check the names of each task model, or of those of ``app_configs``."""
    messages: list[CheckMessage] = []
    for model in task_models():
        if app_configs is None or model._meta.app_config in app_configs:
            messages += [*_hidden_names(model), *_attributes(model), *_composite_key(model)]
    return messages


@register(Tags.compatibility)
def check_setting_names(**_: object) -> list[CheckMessage]:
    """Check that each setting with the prefix of the package exists."""
    known = [name for option in all_options() for name in option.names]
    in_environment = (name for name in os.environ if name.startswith(_PREFIX.upper()))
    in_settings = (name for name in dir(settings) if "SIMPLETASK3" in name and name.isupper())
    return [
        CheckMessage(WARNING, f"{name} is no setting.", hint=_hint(name, known), id=SETTING_ID)
        for name in sorted({*in_environment, *in_settings} - set(known))
    ]


def _hidden_names(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    meta: Any = model._meta
    fields = [] if meta.proxy else [*meta.local_fields, *meta.local_many_to_many]
    names = {name: "column" for field in fields for name in (field.name, field.attname)}
    for field in meta.fields:
        if not issubclass(field.model, SimpleTask):
            names |= dict.fromkeys(
                (field.name, field.attname), f"column of {field.model._meta.label}"
            )
    relations = [] if meta.proxy else meta.related_objects
    names |= {
        relation.get_accessor_name(): f"related_name of {relation.related_model._meta.label}"
        for relation in relations
        if not issubclass(relation.related_model, TaskEvent)
    }
    for name in sorted(names):
        yield from _hidden_name(model, name, names[name])


def _hidden_name(model: type[SimpleTask], name: str, kind: str) -> Iterator[CheckMessage]:
    """Say what the ``kind`` called ``name``, such as a column, hides of SimpleTask."""
    hidden = inspect.getattr_static(SimpleTask, name, None)
    text = f"SimpleTask.{name}{'()' if inspect.isfunction(hidden) else ''}"
    # Django would set the property of SimpleTask to the value of a parent's column, and fail.
    if name in _NEEDED or (isinstance(hidden, property) and kind.startswith("column of ")):
        message = f"The {kind} {name} hides {text}, which the package needs."
        yield Error(message, hint="Rename it.", obj=model, id=COLUMN_ID)
    elif name in _PUBLIC_NAMES:
        hint = f"Rename it, or call SimpleTask.{name}(task)." if "()" in text else "Rename it."
        message = f"The {kind} {name} hides {text}."
        yield CheckMessage(WARNING, message, hint=hint, obj=model, id=HIDDEN_ID)


def _attributes(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    own_classes = [cls for cls in model.__mro__ if not issubclass(SimpleTask, cls)]
    attributes = {name: value for cls in reversed(own_classes) for name, value in vars(cls).items()}
    for name, value in sorted(attributes.items()):
        if name in _ATTRIBUTES or name.startswith("_"):
            continue
        if "simpletask3" in name.lower() or get_close_matches(name, _ATTRIBUTES, 1, 0.9):
            message = f"{name} is no attribute of task models."
            yield Error(message, hint=_hint(name, _ATTRIBUTES), obj=model, id=ATTRIBUTE_ID)
        elif _is_plain(value) and (similar := get_close_matches(name, _BARE_ATTRIBUTES, 1, 0.85)):
            yield CheckMessage(
                WARNING,
                f"{name} has no effect.",
                hint=f"Write {_PREFIX}{similar[0]}, or rename it if it is for something else.",
                obj=model,
                id=BARE_ATTRIBUTE_ID,
            )
        elif _is_plain(value) and name != "objects":
            yield from _hidden_name(model, name, "attribute")


def _is_plain(value: object) -> bool:
    """Whether ``value`` is no column, method or property."""
    is_error = isinstance(value, type) and issubclass(value, BaseException)
    if is_error or isinstance(value, Exponential | Fixed):
        return True  # they are callable, but not as methods
    return not callable(value) and not hasattr(type(value), "__get__")


def _composite_key(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    if has_composite_key(model):
        yield Error(
            "A task model cannot have a composite primary key.",
            hint="Use a key of one column, and a UniqueConstraint for the columns.",
            obj=model,
            id=KEY_ID,
        )


def has_composite_key(model: type[models.Model]) -> bool:
    """Whether the primary key of ``model`` has several columns."""
    meta: Any = model._meta
    return len(meta.pk_fields) > 1


def has_usable_names(model: type[SimpleTask]) -> bool:
    """Whether ``model`` can be asked for its channel and its message ids."""
    has_error = any(message.id == COLUMN_ID for message in _hidden_names(model))
    return not has_error and not has_composite_key(model)


def _hint(name: str, known: Iterable[str]) -> str:
    similar = get_close_matches(name, list(known), 1) or get_close_matches(
        name.lower(), list(known), 1
    )
    return f"Did you mean {similar[0]}?" if similar else f"There are {', '.join(sorted(known))}."

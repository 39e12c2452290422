"""Whether the fields of a schedule make a task that may be saved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import Error

from .declared import Declared
from .definition import fields_as_json
from .targets import ScheduleTarget, build_task
from .ticks import find_zone


def faults_of_fields(declared: Declared) -> list[str]:
    """What is wrong with the fields of a schedule whose definition has no other faults.

    A function is called with the next tick. Nothing is said of what only a database knows.
    """
    definition, target = declared.definition, declared.target
    tick = definition.parse_ticks().next_after(datetime.now(UTC))
    if target is None or tick is None:
        return []
    try:
        fields = definition.fields_at(tick.astimezone(find_zone(definition.zone)))
    except Error:
        return []
    except Exception as error:
        return [f"The function of its fields raised {type(error).__name__}: {error}"]
    if not definition.is_computed:
        try:
            fields_as_json(fields)
        except (TypeError, ValueError, RecursionError) as error:
            return [f"Its fields cannot be stored: {error}"]
    return faults_of(target, fields)


def faults_of(target: ScheduleTarget, fields: Mapping[str, Any]) -> list[str]:
    """What is wrong with these fields; nothing is said of what only a database knows."""
    try:
        task = build_task(target, fields)
    except (TypeError, ValueError) as error:
        return [f"Its fields do not fit: {error}"]
    relations = {field.name for field in task._meta.concrete_fields if field.is_relation}
    try:
        task.full_clean(exclude=relations, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        return [f"Its fields are not valid: {text}" for text in texts_of(error)]
    except (Error, ObjectDoesNotExist):
        pass
    except Exception as error:
        return [f"Checking its fields raised {type(error).__name__}: {error}"]
    return []


def texts_of(error: ValidationError) -> list[str]:
    """The messages of ``error``, each after the name of its field."""
    if not hasattr(error, "error_dict"):
        return list(error.messages)
    by_field = error.message_dict.items()
    return [
        text if name == "__all__" else f"{name}: {text}"
        for name, texts in by_field
        for text in texts
    ]

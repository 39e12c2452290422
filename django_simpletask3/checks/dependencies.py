"""Checks of models whose tasks others may wait for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import models

from ..dependencies.tables import may_be_prerequisite
from ..ledger.fields import MAX_TEXT
from ..ledger.task_row import table_model
from ..models.registry import task_models
from ..models.task import SimpleTask

PREREQUISITE_ID = "django_simpletask3.E124"

SHORTER_KEY = f"Give it a max_length of at most {MAX_TEXT}."


@register(Tags.models)
def check_dependencies(
    app_configs: Sequence[AppConfig] | None = None, **_: object
) -> list[CheckMessage]:
    """Check each task model, or those of ``app_configs``."""
    chosen = [m for m in task_models() if app_configs is None or m._meta.app_config in app_configs]
    return [message for model in chosen for message in _messages(model)]


def key_fault(model: type[SimpleTask]) -> str:
    """Why the tables of limits and links cannot name tasks of ``model``; empty if they can."""
    field: Any = table_model(model)._meta.pk
    while field.is_relation:
        field = field.target_field
    is_text = isinstance(field, models.CharField | models.TextField)
    if not is_text or (field.max_length or math.inf) <= MAX_TEXT:
        return ""
    return (
        f"The primary key of {model._meta.label} may be longer than {MAX_TEXT} characters, which "
        "the tables of limits and of tasks that wait cannot hold."
    )


def _messages(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    value: object = model.django_simpletask3_can_be_awaited
    if not isinstance(value, bool):
        yield Error(
            f"django_simpletask3_can_be_awaited is {value!r}; expected True or False.",
            hint="Remove it to use the default, False.",
            obj=model,
            id=PREREQUISITE_ID,
        )
        return
    root = table_model(model)
    if value != may_be_prerequisite(model):
        yield Error(
            f"django_simpletask3_can_be_awaited differs from that of {root._meta.label}, whose "
            "table holds the tasks.",
            hint=f"Set it on {root._meta.label}; it applies to every model of the table.",
            obj=model,
            id=PREREQUISITE_ID,
        )
    elif value and root is model and (fault := key_fault(model)):
        yield Error(fault, hint=SHORTER_KEY, obj=model, id=PREREQUISITE_ID)

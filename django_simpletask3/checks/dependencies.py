"""Checks of models whose tasks others may wait for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from ..dependencies.tables import may_be_prerequisite
from ..ledger.task_row import table_model
from ..models.registry import task_models
from ..models.task import SimpleTask

PREREQUISITE_ID = "django_simpletask3.E124"


@register(Tags.models)
def check_dependencies(
    app_configs: Sequence[AppConfig] | None = None, **_: object
) -> list[CheckMessage]:
    """Check each task model, or those of ``app_configs``."""
    models = [m for m in task_models() if app_configs is None or m._meta.app_config in app_configs]
    return [message for model in models for message in _messages(model)]


def _messages(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    value: object = model.django_simpletask3_can_be_awaited
    if not isinstance(value, bool):
        yield Error(
            f"django_simpletask3_can_be_awaited is {value!r}; expected True or False.",
            hint="Remove it to use the default, False.",
            obj=model,
            id=PREREQUISITE_ID,
        )
    elif value != may_be_prerequisite(model):
        root = table_model(model)
        yield Error(
            f"django_simpletask3_can_be_awaited differs from that of {root._meta.label}, whose "
            "table holds the tasks.",
            hint=f"Set it on {root._meta.label}; it applies to every model of the table.",
            obj=model,
            id=PREREQUISITE_ID,
        )

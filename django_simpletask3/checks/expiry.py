"""Checks of how long the tasks of a model are of use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from ..ledger.task_row import has_expiry, table_model
from ..models.mixins.expiring_task import ExpiringTask
from ..models.registry import task_models
from ..models.task import SimpleTask
from ..retries import seconds_of

EXPIRY_ID = "django_simpletask3.E121"


@register(Tags.models)
def check_expiry(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Check the expiry of each task model, or of those of ``app_configs``."""
    messages: list[CheckMessage] = []
    for model in task_models():
        if app_configs is None or model._meta.app_config in app_configs:
            messages += [*_value(model), *_column(model)]
    return messages


def _value(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    expires = model.django_simpletask3_expires
    if expires is not None and not 0 < seconds_of(expires) < math.inf:
        yield Error(
            f"django_simpletask3_expires is {expires!r}; expected a positive number of seconds, "
            "or a timedelta.",
            hint="Leave it None for tasks that do not expire.",
            obj=model,
            id=EXPIRY_ID,
        )


def _column(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    root = table_model(model)
    is_meant_to = model.django_simpletask3_expires is not None or issubclass(model, ExpiringTask)
    if is_meant_to and not has_expiry(model):
        yield Error(
            f"Tasks in the table of {root._meta.label} do not expire.",
            hint=f"Derive {root.__name__} from ExpiringTask in the place of SimpleTask, and run "
            "makemigrations.",
            obj=model,
            id=EXPIRY_ID,
        )

"""Checks of the limits of task models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.db import connections

from ..conf.column_template import ColumnTemplate
from ..ledger.task_row import table_model
from ..limits import Limit
from ..limits.limit import MAX_NAME
from ..models.registry import possible_databases, task_models
from ..models.task import SimpleTask
from .dependencies import SHORTER_KEY, key_fault
from .unique import template_faults

LIMIT_ID = "django_simpletask3.E123"
SNAPSHOT_ID = "django_simpletask3.W007"

_READ_COMMITTED = 2  # psycopg.IsolationLevel, which is not imported for other databases


@register(Tags.models)
def check_limits(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Check the limit of each task model, or of those of ``app_configs``."""
    messages: list[CheckMessage] = []
    first_models: dict[str, type[SimpleTask]] = {}
    for model in task_models():
        faults = list(_faults(model, first_models))
        if app_configs is None or model._meta.app_config in app_configs:
            messages += [Error(m, hint=hint, obj=model, id=LIMIT_ID) for m, hint in faults]
            messages += _snapshots(model)
    return messages


def _snapshots(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    """Warn of databases where a transaction does not see what was committed since it began."""
    for using in possible_databases(model) if model.django_simpletask3_limit else ():
        if not _reads_what_is_committed(using):
            level = (connections[using].settings_dict.get("OPTIONS") or {}).get("isolation_level")
            yield CheckMessage(
                WARNING,
                f"The database {using!r} has the isolation level {level!r}: a task of "
                f"{model._meta.label} that waits for its limit may be overlooked there when a "
                "place is free.",
                hint="Set it to read committed in its OPTIONS, or leave it out: that is the "
                "default of Django.",
                obj=model,
                id=SNAPSHOT_ID,
            )


def _reads_what_is_committed(using: str) -> bool:
    connection: Any = connections[using]
    options = connection.settings_dict.get("OPTIONS") or {}
    if connection.vendor == "mysql":
        return str(options.get("isolation_level", "read committed")).lower() == "read committed"
    if connection.vendor == "postgresql":
        return int(options.get("isolation_level") or _READ_COMMITTED) <= _READ_COMMITTED
    return True


def _faults(
    model: type[SimpleTask], first_models: dict[str, type[SimpleTask]]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the limit of ``model``, and how to mend it."""
    limit: Any = model.django_simpletask3_limit
    if limit is None:
        return
    if not isinstance(limit, Limit):
        hint = "Use Limit(...) of django_simpletask3.limits, or None."
        yield f"django_simpletask3_limit is {limit!r}, which is no Limit.", hint
        return
    for what, text in (("key of the limit", limit.key), ("fair_by of the limit", limit.fair_by)):
        if text:
            yield from template_faults(model, what, ColumnTemplate(text), is_of_table=False)
    if fault := key_fault(model):
        yield fault, SHORTER_KEY
    limit_name = limit.name or table_model(model)._meta.label
    if len(limit_name) > MAX_NAME:
        hint = "Give the limit a shorter name: Limit(..., name=...)."
        yield f"{limit_name} is longer than {MAX_NAME} characters.", hint
    other = first_models.setdefault(limit_name, model)
    first = other.django_simpletask3_limit
    if (first.running, first.rate) != (limit.running, limit.rate):
        label = other._meta.label
        hint = "Give both the same numbers, or different names: Limit(..., name=...)."
        yield f"The limit {limit_name} has another number of places, or rate, in {label}.", hint

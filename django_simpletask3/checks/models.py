"""Checks of task models: task function, event model, limits and retention rules."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Tags, register

from ..exceptions import ExecutorMissing
from ..execution.call import accepted_arguments, task_function
from ..ledger.columns import mixin_columns
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.task_row import table_model
from ..models.mixins.expiring_task import ExpiringTask
from ..models.mixins.unique_task import UniqueTask
from ..models.registry import task_models
from ..models.task import SimpleTask
from ..retention.rules import parse_rules
from .names import COLUMN_ID

EXECUTOR_ID = "django_simpletask3.E102"
WORKER_NUMBER_ID = "django_simpletask3.E103"
EVENT_MODEL_ID = "django_simpletask3.E104"
TIME_LIMIT_ID = "django_simpletask3.E106"
TRIES_ID = "django_simpletask3.E107"
RETENTION_ID = "django_simpletask3.E111"
SIGNATURE_ID = "django_simpletask3.E114"


@register(Tags.models)
def check_models(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Check each task model, or those of ``app_configs``."""
    models = [m for m in task_models() if app_configs is None or m._meta.app_config in app_configs]
    messages: list[CheckMessage] = []
    for model in models:
        if foreign_columns := list(_foreign_columns(model)):
            messages += foreign_columns  # nothing else can be said of it
            continue
        messages += [*_executor(model), *_worker_number(model), *_time_limit(model), *_tries(model)]
        messages += [*_event_model(model), *_retention(model), *_columns(model)]
    return messages


def _executor(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    try:
        function = task_function(model)
    except ExecutorMissing as error:
        hint = "Write do_task(), or set django_simpletask3_executor to a callable or its path."
        yield Error(str(error), hint=hint, obj=model, id=EXECUTOR_ID)
        return
    if fault := _signature_fault(function):
        yield Error(
            f"The task function {fault}.",
            hint="It is called with the task, and with worker or msg if it names them: what it "
            "works on stands in columns of the task.",
            obj=model,
            id=SIGNATURE_ID,
        )


def _signature_fault(function: Callable[..., object]) -> str:
    """Why the task function cannot be called as workers do; empty if it can."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "contains yield: a call would run none of it"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(None, **accepted_arguments(function, {"worker": "", "msg": None}))
    except TypeError as error:
        return f"has the parameters {signature}, and cannot be called: {error}"
    return ""


def _worker_number(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    number = model.django_simpletask3_worker_number
    if number is not None and (type(number) is not int or number < 1):
        yield Error(
            f"django_simpletask3_worker_number is {number!r}; expected an integer of at least 1.",
            hint="Leave it None to use DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER.",
            obj=model,
            id=WORKER_NUMBER_ID,
        )


def _time_limit(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    raw = model.django_simpletask3_time_limit
    limit: Any = raw.total_seconds() if isinstance(raw, timedelta) else raw
    if limit is not None and (type(limit) not in (int, float) or not 0 < limit < math.inf):
        yield Error(
            f"django_simpletask3_time_limit is {raw!r}; expected a positive number of seconds, or "
            "a timedelta.",
            hint="Leave it None for no limit.",
            obj=model,
            id=TIME_LIMIT_ID,
        )


def _retention(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    try:
        parse_rules(model.django_simpletask3_retention)
    except ValueError as error:
        yield Error(
            f"django_simpletask3_retention is invalid: {error}.",
            hint="Use a dictionary such as {Status.SUCCESS: timedelta(days=90)}.",
            obj=model,
            id=RETENTION_ID,
        )
    root = table_model(model)
    if model.django_simpletask3_retention != root.django_simpletask3_retention:
        yield Error(
            f"django_simpletask3_retention differs from that of {root._meta.label}, whose table "
            "holds the tasks.",
            hint=f"Set it on {root._meta.label}; it applies to every model of the table.",
            obj=model,
            id=RETENTION_ID,
        )


def _package_columns(model: type[SimpleTask]) -> Sequence[Any]:
    classes = (SimpleTask, ExpiringTask, UniqueTask)
    package_fields = {field.name: field for cls in classes for field in cls._meta.local_fields}
    added = {"expires_at", "unique_key"} - set(mixin_columns(model))
    return [field for name, field in package_fields.items() if name not in added]


def _foreign_columns(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    """Columns of SimpleTask that a parent has which is no task, or that are no columns here."""
    names = {field.name for field in model._meta.fields}
    for field in _package_columns(model):
        if field.name not in names:
            # Django takes what is assigned in the class instead of the column.
            yield Error(
                f"The attribute {field.name} replaces the column {field.name} of SimpleTask.",
                hint="Rename it, or give the value to each task.",
                obj=model,
                id=COLUMN_ID,
            )
            continue
        owner = model._meta.get_field(field.name).model
        if not issubclass(owner, SimpleTask):
            yield Error(
                f"The column {field.name} of SimpleTask is in the table of {owner._meta.label}, "
                "which is no task model.",
                hint=f"Rename the column of {owner._meta.label}.",
                obj=model,
                id=COLUMN_ID,
            )


def _columns(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    for field in _package_columns(model):
        actual_field = table_model(model)._meta.get_field(field.name)
        if type(actual_field) is not type(field):
            yield Error(
                f"The column {field.name} of SimpleTask is overridden by a "
                f"{type(actual_field).__name__}.",
                hint="Rename your column.",
                obj=model,
                id=COLUMN_ID,
            )


def _tries(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    for name, minimum in (("max_retries", 0), ("max_attempts", 1), ("max_snoozes", 0)):
        attribute = f"django_simpletask3_{name}"
        number = getattr(model, attribute)
        is_unlimited = number is None and name == "max_retries"
        if not is_unlimited and (type(number) is not int or number < minimum):
            yield Error(
                f"{attribute} is {number!r}; expected an integer of at least {minimum}.",
                hint=f"Remove it to use the default, {getattr(SimpleTask, attribute)}.",
                obj=model,
                id=TRIES_ID,
            )


def _event_model(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    hint = (
        "Write class MyEvent(TaskEvent) with task = task_foreign_key('app.Model') and "
        "class Meta(TaskEvent.Meta), or remove django_simpletask3_event_model."
    )
    try:
        events: Any = event_model_of(model)
    except LookupError:
        name = f"{table_model(model).__name__}Event"
        if name.lower() in apps.all_models[model._meta.app_label]:
            hint = f"{name} is the name of its event model: rename yours. {hint}"
        yield Error("The task model has no event model.", hint=hint, obj=model, id=EVENT_MODEL_ID)
        return
    unique = {tuple(pair) for pair in events._meta.unique_together}
    if not issubclass(events, TaskEvent) or ("task", "sequence") not in unique:
        yield Error(
            f"{events._meta.label} is not a TaskEvent with task and sequence unique together.",
            hint=hint,
            obj=model,
            id=EVENT_MODEL_ID,
        )

"""Task models: each has something to run, a stream, and rules that can be followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from ..exceptions import ExecutorMissing
from ..execution.call import task_function
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.task_row import table_model
from ..models.registry import task_models
from ..models.task import SimpleTask
from ..retention.rules import parse_rules

EXECUTOR_ID = "django_simpletask3.E102"
WORKER_NUMBER_ID = "django_simpletask3.E103"
EVENT_MODEL_ID = "django_simpletask3.E104"
TIME_LIMIT_ID = "django_simpletask3.E106"
TRIES_ID = "django_simpletask3.E107"
RETENTION_ID = "django_simpletask3.E111"
COLUMN_ID = "django_simpletask3.E112"


@register(Tags.models)
def check_models(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Every task model has something to run, a number of threads, a stream and a channel."""
    models = [
        model
        for model in task_models()
        if app_configs is None or model._meta.app_config in app_configs
    ]
    messages: list[CheckMessage] = []
    for model in models:
        messages += [*_executor(model), *_worker_number(model), *_time_limit(model), *_tries(model)]
        messages += [*_event_model(model), *_retention(model), *_columns(model)]
    return messages


def _executor(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    try:
        task_function(model)
    except ExecutorMissing as error:
        hint = "Write do_task(), or name a callable in django_simpletask3_executor."
        yield Error(str(error), hint=hint, obj=model, id=EXECUTOR_ID)


def _worker_number(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    number = model.django_simpletask3_worker_number
    if number is not None and (type(number) is not int or number < 1):
        yield Error(
            f"django_simpletask3_worker_number is {number!r}; expected a whole number, 1 or more.",
            hint="None means DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER.",
            obj=model,
            id=WORKER_NUMBER_ID,
        )


def _time_limit(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    limit = model.django_simpletask3_time_limit
    if limit is not None and (isinstance(limit, bool | str) or not limit > 0):
        yield Error(
            f"django_simpletask3_time_limit is {limit!r}; expected a positive number of seconds.",
            hint="None means that the body may run as long as it likes.",
            obj=model,
            id=TIME_LIMIT_ID,
        )


def _retention(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    try:
        parse_rules(model.django_simpletask3_retention)
    except ValueError as error:
        yield Error(
            f"django_simpletask3_retention cannot be used: {error}.",
            hint="For example: {Status.SUCCESS: timedelta(days=90)}.",
            obj=model,
            id=RETENTION_ID,
        )
    root = table_model(model)
    if model.django_simpletask3_retention != root.django_simpletask3_retention:
        yield Error(
            f"django_simpletask3_retention is not that of {root._meta.label}, in whose table the "
            "tasks stand.",
            hint=f"Declare it at {root._meta.label}; it holds for every model of the table.",
            obj=model,
            id=RETENTION_ID,
        )


def _columns(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    """A column of ours that was overridden would be written as if it were ours."""
    for field in SimpleTask._meta.local_fields:
        actual_field = table_model(model)._meta.get_field(field.name)
        if type(actual_field) is not type(field):
            yield Error(
                f"The column {field.name} is SimpleTask's, "
                f"and a {type(actual_field).__name__} here.",
                hint="Give the column of your own another name.",
                obj=model,
                id=COLUMN_ID,
            )


def _tries(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    for name, minimum in (("max_retries", 0), ("max_attempts", 1)):
        attribute = f"django_simpletask3_{name}"
        number = getattr(model, attribute)
        if type(number) is not int or number < minimum:
            yield Error(
                f"{attribute} is {number!r}; expected a whole number, {minimum} or more.",
                hint=f"Leave it out for the default, {getattr(SimpleTask, attribute)}.",
                obj=model,
                id=TRIES_ID,
            )


def _event_model(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    hint = (
        "Write: class MyEvent(TaskEvent): task = task_foreign_key('app.Model'), with "
        "class Meta(TaskEvent.Meta), or leave django_simpletask3_event_model out."
    )
    try:
        events: Any = event_model_of(model)
    except LookupError:
        yield Error("The task has no event model.", hint=hint, obj=model, id=EVENT_MODEL_ID)
        return
    unique = {tuple(pair) for pair in events._meta.unique_together}
    if not issubclass(events, TaskEvent) or ("task", "sequence") not in unique:
        yield Error(
            f"{events._meta.label} is no TaskEvent that is unique by task and sequence.",
            hint=hint,
            obj=model,
            id=EVENT_MODEL_ID,
        )

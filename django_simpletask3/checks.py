"""System checks: a wrong setting or model is found by ``manage.py check``, not at night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from .bodies import body_of
from .catalog import task_models
from .conf import Option, all_options, options
from .events import TaskEvent, event_model_of
from .exceptions import ExecutorMissing, InvalidSetting
from .models import SimpleTask
from .queue import parse

#: The check id of each setting, in the order of the documentation.
SETTING_IDS = {
    option.name: f"django_simpletask3.E{number:03}"
    for number, option in enumerate(all_options(), start=1)
}
URL_ID = "django_simpletask3.E101"
EXECUTOR_ID = "django_simpletask3.E102"
WORKER_NUMBER_ID = "django_simpletask3.E103"
TIME_LIMIT_ID = "django_simpletask3.E106"
EVENT_MODEL_ID = "django_simpletask3.E104"
CHANNEL_ID = "django_simpletask3.E105"


@register(Tags.compatibility)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Every setting can be used as it is."""
    return [message for option in all_options() for message in _option(option)]


@register(Tags.models)
def check_models(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Every task model has something to run, a number of threads, a stream and a channel."""
    models = [
        model
        for model in task_models()
        if app_configs is None or model._meta.app_config in app_configs
    ]
    found: list[CheckMessage] = []
    for model in models:
        found += [*_executor(model), *_worker_number(model), *_time_limit(model)]
        found += _event_model(model)
    return [*found, *_channels()]


def _option(option: Option[Any]) -> Iterator[CheckMessage]:
    try:
        value = option.value()
    except InvalidSetting as error:
        yield Error(str(error), hint=option.hint, id=SETTING_IDS[option.name])
        return
    if option is type(options).simq_redis_url:
        try:
            parse(value)
        except InvalidSetting as error:
            yield Error(str(error), hint=option.hint, id=URL_ID)


def _executor(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    try:
        body_of(model)
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


def _event_model(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    hint = (
        "Write: class MyEvent(TaskEvent): task = stream_of('app.Model'), with "
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


def _channels() -> Iterator[CheckMessage]:
    owners: dict[str, str] = {}
    for model in task_models():
        try:
            channel = model.get_event_channel()
        except (InvalidSetting, KeyError, IndexError, ValueError) as error:
            if isinstance(error, InvalidSetting):
                return
            yield Error(
                f"The channel template cannot be filled in: {error!r}.",
                hint="Use {app_label} and {model_name} only.",
                obj=model,
                id=CHANNEL_ID,
            )
            continue
        if channel in owners:
            yield Error(
                f"{model._meta.label} and {owners[channel]} share the channel {channel}.",
                hint="Name {app_label} and {model_name} in the channel template.",
                obj=model,
                id=CHANNEL_ID,
            )
        owners[channel] = model._meta.label

"""System checks: a wrong setting or model is found by ``manage.py check``, not at night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import WARNING, CheckMessage, Error, Tags, register

from .bodies import body_of
from .catalog import task_models
from .conf import Option, Options, all_options, options
from .events import TaskEvent, event_model_of
from .exceptions import ExecutorMissing, InvalidSetting
from .models import SimpleTask
from .policies import Policy, policy_of
from .queue import parse

_LEASE = Options.simq_running_timeout.name
_GRACE = Options.shutdown_grace.name
_EXPIRY = Options.simq_worker_status_expire.name

#: The check id of each setting, in the order of the documentation.
SETTING_IDS = {
    option.name: f"django_simpletask3.E{number:03}"
    for number, option in enumerate(all_options(), start=1)
}
URL_ID = "django_simpletask3.E101"
EXECUTOR_ID = "django_simpletask3.E102"
WORKER_NUMBER_ID = "django_simpletask3.E103"
TRIES_ID = "django_simpletask3.E107"
TIME_LIMIT_ID = "django_simpletask3.E106"
EVENT_MODEL_ID = "django_simpletask3.E104"
CHANNEL_ID = "django_simpletask3.E105"
LEASE_ID = "django_simpletask3.E108"
GRACE_ID = "django_simpletask3.E109"
REPORT_ID = "django_simpletask3.E110"
POLICY_ID = "django_simpletask3.W001"


@register(Tags.compatibility)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Every setting can be used as it is, and beside the others."""
    found = [message for option in all_options() for message in _option(option)]
    return found or [*_contradictions()]


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
        found += [*_executor(model), *_worker_number(model), *_time_limit(model), *_tries(model)]
        found += _event_model(model)
    return [*found, *_addresses(), *_policies()]


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


def _contradictions() -> Iterator[CheckMessage]:
    policies = options.simq_running_timeout_handler_policies
    leases = {_LEASE: policy_of("")}
    leases |= {
        f"The running_timeout of {channel!r} in {_LEASE}_HANDLER_POLICIES": policy_of(channel)
        for channel, policy in policies.items()
        if "running_timeout" in policy
    }
    for name, policy in leases.items():
        yield from _lease(name, policy)
    longest = max(policy.beat for policy in leases.values())
    if options.simq_worker_status_expire < 2 * longest:
        yield Error(
            f"{_EXPIRY} is {options.simq_worker_status_expire} s, but workers report every "
            f"{longest:g} s: between two reports they would look dead.",
            hint=f"Set {_EXPIRY} to {2 * longest:g} or more.",
            id=REPORT_ID,
        )


def _lease(name: str, policy: Policy) -> Iterator[CheckMessage]:
    grace = options.shutdown_grace
    if policy.lease < 2 * policy.beat:
        yield Error(
            f"{name} is {policy.lease:g} s: shorter than two beats of {policy.beat:g} s, by which "
            "a healthy worker renews it.",
            hint=f"Set it to {2 * policy.beat:g} or more; minutes are usual.",
            id=LEASE_ID,
        )
    elif grace > policy.lease:
        yield Error(
            f"{_GRACE} is {grace:g} s, longer than the lease: {name} is {policy.lease:g} s.",
            hint=f"Set {_GRACE} to {policy.lease:g} or less, or the lease to {grace:g} or more.",
            id=GRACE_ID,
        )


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


def _tries(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    for name, least in (("max_retries", 0), ("max_attempts", 1)):
        attribute = f"django_simpletask3_{name}"
        number = getattr(model, attribute)
        if type(number) is not int or number < least:
            yield Error(
                f"{attribute} is {number!r}; expected a whole number, {least} or more.",
                hint=f"Leave it out for the default, {getattr(SimpleTask, attribute)}.",
                obj=model,
                id=TRIES_ID,
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


def _addresses() -> Iterator[CheckMessage]:
    """Channels and message ids must tell models apart."""
    for what, of in (("channel", _channel), ("message id", _message_id)):
        owners: dict[str, type[SimpleTask]] = {}
        for model in task_models():
            try:
                address = of(model)
            except InvalidSetting:
                return  # told by check_settings
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                yield _address_error(model, f"The {what} template cannot be filled in: {error!r}.")
                continue
            if address in owners:
                other = owners[address]._meta.label
                yield _address_error(
                    model, f"{model._meta.label} and {other} share the {what} {address}."
                )
            owners[address] = model


def _policies() -> Iterator[CheckMessage]:
    """A policy is for a channel that some model has."""
    try:
        channels = {_channel(model) for model in task_models()}
        unknown = sorted(options.simq_running_timeout_handler_policies.keys() - channels)
    except (InvalidSetting, KeyError, IndexError, ValueError, AttributeError):
        return  # told by others
    for channel in unknown:
        yield CheckMessage(
            WARNING,
            f"{_LEASE}_HANDLER_POLICIES has a policy for {channel!r}, which no task model uses.",
            hint=f"The channels are: {', '.join(sorted(channels))}.",
            id=POLICY_ID,
        )


def _address_error(model: type[SimpleTask], message: str) -> CheckMessage:
    hint = "Name {app_label} and {model_name} in the template, and {id} in that of message ids."
    return Error(message, hint=hint, obj=model, id=CHANNEL_ID)


def _channel(model: type[SimpleTask]) -> str:
    return model.get_event_channel()


def _message_id(model: type[SimpleTask]) -> str:
    task = model()
    task.pk = "1"
    return task.get_task_id()

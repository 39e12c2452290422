"""Check that each task model has its own channel and message ids."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import WARNING, CheckMessage, Error, Tags, register

from ..conf.options import Options, options
from ..db.fast_instances import build_without_init
from ..exceptions import InvalidSetting
from ..models.registry import task_models
from ..models.task import SimpleTask
from .names import has_usable_names

_POLICIES = Options.simq_running_timeout_handler_policies.name

CHANNEL_ID = "django_simpletask3.E105"
POLICY_ID = "django_simpletask3.W001"


@register(Tags.models)
def check_channels(**_: object) -> list[CheckMessage]:
    """Check that models share no channel or message id, and that each policy has a channel."""
    return [*_template_conflicts(), *_policies()]


def _template_conflicts() -> Iterator[CheckMessage]:
    """Yield an error for each template that fails or gives two models the same value."""
    # The others have errors of their own.
    models = [model for model in task_models() if has_usable_names(model)]
    for template_name, compute in (("channel", _channel), ("message id", _message_id)):
        owners: dict[str, type[SimpleTask]] = {}
        for model in models:
            try:
                value = compute(model)
            except InvalidSetting:
                return  # check_settings reports it
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                yield _template_error(
                    model, f"The {template_name} template cannot be formatted: {error!r}."
                )
                continue
            if value in owners:
                other = owners[value]._meta.label
                yield _template_error(
                    model, f"{model._meta.label} and {other} share the {template_name} {value}."
                )
            owners[value] = model


def _policies() -> Iterator[CheckMessage]:
    """Yield a warning for each policy whose channel no model uses."""
    try:
        channels = {_channel(model) for model in task_models() if has_usable_names(model)}
        unknown = sorted(options.simq_running_timeout_handler_policies.keys() - channels)
    except (InvalidSetting, KeyError, IndexError, ValueError, AttributeError):
        return  # other checks report it
    for channel in unknown:
        yield CheckMessage(
            WARNING,
            f"{_POLICIES} has a policy for {channel!r}, which no task model uses.",
            hint=f"Remove it or name one of these channels: {', '.join(sorted(channels))}.",
            id=POLICY_ID,
        )


def _template_error(model: type[SimpleTask], message: str) -> CheckMessage:
    hint = "Use {app_label} and {model_name} in the template, and {id} in that of message ids."
    return Error(message, hint=hint, obj=model, id=CHANNEL_ID)


def _channel(model: type[SimpleTask]) -> str:
    return model.get_event_channel()


def _message_id(model: type[SimpleTask]) -> str:
    # Without __init__: a column that hides something may make it fail.
    task: SimpleTask = build_without_init(model, {model._meta.pk.attname: "1"})
    return task.get_task_id()

"""Checks of how task models are tried again: backoff, errors and deadline."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.apps import AppConfig
from django.core.checks import WARNING, CheckMessage, Error, Tags, register

from ..models.registry import task_models
from ..models.task import SimpleTask
from ..retries import error_entries, resolve_error, seconds_of

BACKOFF_ID = "django_simpletask3.E118"
ERRORS_ID = "django_simpletask3.E119"
DEADLINE_ID = "django_simpletask3.E120"
NO_RETRIES_ID = "django_simpletask3.W004"

_PREFIX = "django_simpletask3_"
_NEED_RETRIES = ("retry_backoff", "retry_on", "no_retry_on", "retry_for")


@register(Tags.models)
def check_retries(
    app_configs: Sequence[AppConfig] | None = None, **_: object
) -> list[CheckMessage]:
    """Check the retries of each task model, or of those of ``app_configs``."""
    messages: list[CheckMessage] = []
    for model in task_models():
        if app_configs is None or model._meta.app_config in app_configs:
            messages += [*_backoff(model), *_errors(model), *_deadline(model), *_effect(model)]
    return messages


def _backoff(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    if fault := _fault_of(model.django_simpletask3_retry_backoff):
        yield Error(
            f"django_simpletask3_retry_backoff {fault}.",
            hint="Use Exponential(...) or Fixed(...), or a function of the number of the retry and "
            "the error.",
            obj=model,
            id=BACKOFF_ID,
        )


def _fault_of(backoff: Any) -> str:
    """Why workers cannot call ``backoff``; empty if they can."""
    if not callable(backoff):
        return f"is {backoff!r}, which is not callable"
    if isinstance(backoff, type):
        return f"is the class {backoff.__name__}, and not an instance"
    if iscoroutinefunction(backoff):
        return "is an async function, which is not awaited"
    try:
        signature = inspect.signature(backoff)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(1, ValueError())
    except TypeError as error:
        return f"has the parameters {signature}, and cannot be called: {error}"
    return ""


def _errors(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    for name in ("retry_on", "no_retry_on"):
        for entry in error_entries(getattr(model, _PREFIX + name)):
            try:
                resolve_error(entry)
            except LookupError as error:
                yield Error(
                    f"{_PREFIX}{name}: {error}.",
                    hint="Name exception classes, or their dotted paths.",
                    obj=model,
                    id=ERRORS_ID,
                )


def _deadline(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    deadline = model.django_simpletask3_retry_for
    if deadline is not None and not 0 < seconds_of(deadline) < math.inf:
        yield Error(
            f"django_simpletask3_retry_for is {deadline!r}; expected a positive number of seconds, "
            "or a timedelta.",
            hint="Leave it None for no deadline.",
            obj=model,
            id=DEADLINE_ID,
        )


def _effect(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    # What an abstract model says for others is left alone.
    own_names = [name for name in _NEED_RETRIES if _PREFIX + name in vars(model)]
    if own_names and model.django_simpletask3_max_retries == 0:
        yield CheckMessage(
            WARNING,
            f"{_PREFIX}{own_names[0]} has no effect: django_simpletask3_max_retries is 0.",
            hint="Set django_simpletask3_max_retries to a number, or to None for no limit.",
            obj=model,
            id=NO_RETRIES_ID,
        )

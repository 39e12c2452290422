"""Check the paths of ``DJANGO_SIMPLETASK3_MIDDLEWARE``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from ..conf.options import Options, options
from ..exceptions import InvalidSetting
from ..execution.contexts.middleware import import_middleware

MIDDLEWARE_ID = "django_simpletask3.E117"

_NAME = Options.middleware.name
_HINT = (
    "Write a function that takes the task, decorate it with @contextmanager or "
    f"@asynccontextmanager, and list its dotted path in {_NAME}."
)


@register(Tags.compatibility)
def check_middleware(**_: object) -> list[CheckMessage]:
    """Check that each path can be imported, and called with a task."""
    try:
        paths = options.middleware
    except InvalidSetting:  # which the check of the settings reports
        return []
    return [
        Error(fault, hint=_HINT, id=MIDDLEWARE_ID) for path in paths for fault in _path_faults(path)
    ]


def _path_faults(path: str) -> Iterator[str]:
    try:
        middleware = import_middleware(path)
    except InvalidSetting as error:
        yield str(error)
        return
    if fault := _fault(middleware):
        yield f"{path} in {_NAME} {fault}."


def _fault(middleware: Callable[..., Any]) -> str:
    """Why the call of ``middleware`` cannot return a context manager; empty if it may."""
    if inspect.isgeneratorfunction(middleware):
        return "is a generator function without @contextmanager"
    if inspect.isasyncgenfunction(middleware):
        return "is a generator function without @asynccontextmanager"
    if inspect.iscoroutinefunction(middleware):
        return "is a coroutine function, and returns no context manager"
    if inspect.isclass(middleware) and not (
        hasattr(middleware, "__enter__") or hasattr(middleware, "__aenter__")
    ):
        return "is a class without __enter__() or __aenter__()"
    try:
        signature = inspect.signature(middleware)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(None)
    except TypeError as error:
        return f"has the parameters {signature}, and cannot be called with the task alone: {error}"
    return ""

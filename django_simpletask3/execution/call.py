"""Find the task function, call it, and describe its error."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

from django.apps import apps
from django.utils.module_loading import import_string

from ..conf.options import options
from ..exceptions import ExecutorMissing, Retry
from ..ledger.columns import user_fields
from ..ledger.encoding import safe_text, traceback_text, type_name
from ..models.task import SimpleTask
from .contexts.middleware import call_within
from .interrupt import Interruptible

_MESSAGE_LIMIT = 10_000
_TRACEBACK_LIMIT = 50_000
#: Of these, one that is equal is no other value.
_SIMPLE_TYPES = frozenset({str, int, bool, type(None)})


def task_function(model: type[SimpleTask]) -> Callable[..., object]:
    """The function that runs the tasks of ``model``, called with the task.

    ``do_task()`` if it is overridden, else the executor. Raises ExecutorMissing, naming the module
    and the cause, if there is neither.
    """
    if model.do_task is not SimpleTask.do_task:
        return model.do_task
    executor = inspect.getattr_static(model, "django_simpletask3_executor", None)
    if isinstance(executor, staticmethod | classmethod):
        executor = executor.__func__
    if executor is None:
        executor = _default_path(model)
    function = _import_executor(model, executor) if isinstance(executor, str) else executor
    if not callable(function):
        raise ExecutorMissing(
            f"The executor of {model._meta.label}, {executor!r}, is not callable."
        )
    return cast("Callable[..., Any]", function)


def call_function(
    task: SimpleTask, *, worker: str, msg: dict[str, Any] | None, interruptible: Interruptible
) -> Any:
    """Call the task function within the middleware, and return its result; a coroutine is awaited.

    Call it within ``interruptible``.
    """
    function = task_function(type(task))
    arguments = accepted_arguments(function, {"worker": worker, "msg": msg})
    if options.middleware:
        return call_within(task, partial(function, task, **arguments), interruptible)
    result = function(task, **arguments)
    if result is not None and inspect.isawaitable(result):
        return interruptible.run(result)
    return result


def error_as_dict(error: BaseException) -> dict[str, object]:
    """``error_data`` of an error: its type, message and traceback; never raises.

    Of a Retry, type and message of the error that caused it.
    """
    cause = _cause_of(error)
    return {
        "type": type_name(cause),
        "message": safe_text(cause, limit=_MESSAGE_LIMIT),
        "traceback": traceback_text(error, limit=_TRACEBACK_LIMIT),
    }


def _cause_of(error: BaseException) -> BaseException:
    if not isinstance(error, Retry):
        return error
    return error.__cause__ or (not error.__suppress_context__ and error.__context__) or error


def field_values(task: SimpleTask) -> dict[str, object]:
    """The user's columns of ``task`` as they are now, for ``changed_fields``."""
    if not task._is_written_by_function:
        return {}
    return {field.attname: _comparable_value(task, field) for field in user_fields(task)}


def changed_fields(task: SimpleTask, before: dict[str, object]) -> dict[str, object]:
    """The user's columns that differ from ``before``, ready to be written.

    Only these are written: others may have changed the rest meanwhile.
    """
    if not task._is_written_by_function:
        return {}
    changed = [f for f in user_fields(task) if _comparable_value(task, f) != before.get(f.attname)]
    return {field.attname: field.pre_save(task, add=False) for field in changed}


def _default_path(model: type[SimpleTask]) -> str:
    config: Any = apps.get_containing_app_config(model.__module__) or model._meta.app_config
    package = config.name if config else model.__module__.rpartition(".")[0]
    return f"{package}.tasks.{model.__name__}Executor"


def _import_executor(model: type[SimpleTask], path: str) -> Any:
    try:
        return import_string(path)
    except Exception as error:
        raise ExecutorMissing(
            f"{model._meta.label} has no do_task() and its executor {path} cannot be imported: "
            f"{type(error).__name__}: {error}. Write do_task(), or set django_simpletask3_executor."
        ) from error


def accepted_arguments(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Those of ``offered`` that ``function`` accepts."""
    try:
        names = _parameters(function)
    except TypeError:  # a callable object that has no hash
        names = _parameters.__wrapped__(function)
    return {name: value for name, value in offered.items() if names is None or name in names}


@lru_cache(maxsize=1000)
def _parameters(function: Callable[..., object]) -> frozenset[str] | None:
    """The names of the arguments that ``function`` accepts; None if it accepts any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return frozenset(parameter.name for parameter in parameters if parameter.kind in kinds)


def _comparable_value(task: SimpleTask, field: Any) -> Any:
    value = field.value_from_object(task)
    if type(value) in _SIMPLE_TYPES:
        return value
    text = value if value is None else field.value_to_string(task)
    return text if isinstance(text, str) else copy.deepcopy(text)

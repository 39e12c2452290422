"""The frameworks whose tasks run here: Django's own, and its backport ``django-tasks``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from django.core.exceptions import ImproperlyConfigured

_DJANGO, _BACKPORT = "django.tasks", "django_tasks"


@dataclass(frozen=True, slots=True)
class Framework:
    """The classes and signals of one framework."""

    name: str
    backend_class: Any
    task_class: Any
    result_class: Any
    error_class: Any
    context_class: Any
    statuses: Any
    signals: Any
    invalid_task: type[Exception]
    result_does_not_exist: type[Exception]
    normalize_json: Callable[[Any], Any]


@cache
def framework() -> Framework:
    """The one of which the backend is: Django's, or the backport before Django 6.0.

    Raises ImproperlyConfigured if there is none.
    """
    for name in (_DJANGO, _BACKPORT):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        return _load(name)
    raise ImproperlyConfigured(
        "django_simpletask3.contrib.tasks needs Django 6.0 or django-tasks: "
        'pip install "django-simpletask3[tasks]".'
    )


def framework_of(task: object) -> Framework:
    """The framework of ``task``: Django 6 knows tasks of the backport, too."""
    if _BACKPORT in sys.modules:
        backport = _load(_BACKPORT)
        if isinstance(task, backport.task_class):
            return backport
    return framework()


@cache
def _load(name: str) -> Framework:
    base, exceptions = import_module(f"{name}.base"), import_module(f"{name}.exceptions")
    suffix = "" if name == _DJANGO else "Error"
    json = import_module("django.utils.json" if name == _DJANGO else f"{name}.utils")
    return Framework(
        name=name,
        backend_class=import_module(f"{name}.backends.base").BaseTaskBackend,
        task_class=base.Task,
        result_class=base.TaskResult,
        error_class=base.TaskError,
        context_class=base.TaskContext,
        statuses=base.TaskResultStatus,
        signals=import_module(f"{name}.signals"),
        invalid_task=getattr(exceptions, f"InvalidTask{suffix}"),
        result_does_not_exist=exceptions.TaskResultDoesNotExist,
        normalize_json=json.normalize_json,
    )

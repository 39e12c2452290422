"""The framework of the tests: Django's own, or its backport."""

from importlib import import_module
from typing import Any

from django_simpletask3.contrib.tasks.framework import framework

_module: Any = import_module(framework().name)

task = _module.task
task_backends = _module.task_backends
default_task_backend = _module.default_task_backend
TaskResultStatus = _module.TaskResultStatus
#: What Django 6.0 has no defaults for.
DEFAULTS = {"priority": 0, "backend": "default", "queue_name": "default", "run_after": None}
exceptions: Any = import_module(f"{framework().name}.exceptions")
signals: Any = import_module(f"{framework().name}.signals")

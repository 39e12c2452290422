"""The app configuration: imports the functions, and connects the signals of the framework."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class TasksConfig(AppConfig):
    """Configuration of the app ``django_simpletask3.contrib.tasks``."""

    name = "django_simpletask3.contrib.tasks"
    label = "django_simpletask3_tasks"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = _("Function tasks")

    def get_models(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As Django's. Migrations, which ask for swapped models too, know no model of a queue.

        The settings name the queues: these models have no table and no permissions of their own.
        """
        include_swapped = kwargs.get("include_swapped", args[1] if len(args) > 1 else False)
        for model in super().get_models(*args, **kwargs):
            if not (include_swapped and model._meta.proxy):
                yield model

    def ready(self) -> None:
        from ...schedules.targets import register_targets
        from . import checks, signals  # noqa: F401 - registers the checks
        from .models import queue_models
        from .queues import modules_of, our_backends
        from .scheduled import SOURCE

        signals.connect(queue_models())
        register_targets(SOURCE)  # also for the backends of tests, whose functions have schedules
        if our_backends():
            autodiscover_modules("tasks")
        for entry in our_backends().values():
            for module in modules_of(entry):
                import_module(module)

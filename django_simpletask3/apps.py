"""The app: checks, permissions and log lines are connected when Django is ready."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class DjangoSimpletask3Config(AppConfig):
    """The app's own configuration; it has no tables of its own."""

    name = "django_simpletask3"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = _("Simple tasks")

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers the system checks
        from .permissions import create_permissions

        post_migrate.connect(create_permissions, dispatch_uid="django_simpletask3.permissions")

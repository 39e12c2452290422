"""The app configuration: connects permissions, migration guards and the autodetector."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class DjangoSimpletask3Config(AppConfig):
    """Configuration of the app ``django_simpletask3``."""

    name = "django_simpletask3"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = _("Simple tasks")

    def ready(self) -> None:
        from django.core.management.commands import makemigrations, migrate

        from . import checks  # noqa: F401 - registers the checks
        from .dependencies import participant as dependencies
        from .limits import participant as limits
        from .models.permissions import create_permissions
        from .schema import autodetector, drop_guard, protection_state
        from .transitions import participants
        from .transitions.unique_keys import resets

        participants.register(resets.PARTICIPANT)
        # In this order groups are locked before gates.
        dependencies.register()
        limits.register()
        post_migrate.connect(
            create_permissions, dispatch_uid="django_simpletask3.models.permissions"
        )
        name = "django_simpletask3.schema.protection_state"
        pre_migrate.connect(
            drop_guard.reject_event_loss,
            sender=self,
            dispatch_uid="django_simpletask3.schema.drop_guard",
        )
        pre_migrate.connect(protection_state.drop_sqlite_triggers, sender=self, dispatch_uid=name)
        post_migrate.connect(protection_state.restore_triggers, sender=self, dispatch_uid=name)
        # Set the attribute instead of overriding the commands: a project may have commands of its
        # own with these names. Django requires both to use the same autodetector.
        detector = autodetector.history_autodetector_for(makemigrations.Command.autodetector)
        makemigrations.Command.autodetector = migrate.Command.autodetector = detector

"""Tasks in Django's admin: ``admin.site.register(Task1, SimpleTaskAdmin)``."""

from __future__ import annotations

from .actions import (
    django_simpletask3_cancel_for_selected,
    django_simpletask3_execute_for_selected,
    django_simpletask3_reset_for_selected,
)
from .ledger_admin import DeliveryAdmin, TombstoneAdmin
from .task_admin import SimpleTaskAdmin
from .timeline import TimelineInline

__all__ = [
    "DeliveryAdmin",
    "SimpleTaskAdmin",
    "TimelineInline",
    "TombstoneAdmin",
    "django_simpletask3_cancel_for_selected",
    "django_simpletask3_execute_for_selected",
    "django_simpletask3_reset_for_selected",
]

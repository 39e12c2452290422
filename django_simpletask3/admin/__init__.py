"""Task models in Django's admin: ``admin.site.register(Task1, SimpleTaskAdmin)``."""

from __future__ import annotations

from .actions.actions import (
    django_simpletask3_cancel_for_selected,
    django_simpletask3_execute_for_selected,
    django_simpletask3_execute_here_for_selected,
    django_simpletask3_export_for_selected,
    django_simpletask3_force_cancel_for_selected,
    django_simpletask3_hold_for_selected,
    django_simpletask3_lift_for_selected,
    django_simpletask3_reset_for_selected,
    django_simpletask3_retry_for_selected,
    django_simpletask3_unblock_for_selected,
)
from .dashboard.dashboard import DashboardAdmin
from .ledger.ledger_admin import LedgerAdmin
from .package_admin import DeliveryAdmin, TombstoneAdmin
from .schedules.schedule_admin import ScheduleAdmin
from .task_admin import SimpleTaskAdmin
from .task_page.inline import TaskEventInline

__all__ = [
    "DashboardAdmin",
    "DeliveryAdmin",
    "LedgerAdmin",
    "ScheduleAdmin",
    "SimpleTaskAdmin",
    "TaskEventInline",
    "TombstoneAdmin",
    "django_simpletask3_cancel_for_selected",
    "django_simpletask3_execute_for_selected",
    "django_simpletask3_execute_here_for_selected",
    "django_simpletask3_export_for_selected",
    "django_simpletask3_force_cancel_for_selected",
    "django_simpletask3_hold_for_selected",
    "django_simpletask3_lift_for_selected",
    "django_simpletask3_reset_for_selected",
    "django_simpletask3_retry_for_selected",
    "django_simpletask3_unblock_for_selected",
]

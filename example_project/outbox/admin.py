"""The admin of notifications, which is read-only."""

from typing import Any

from django.contrib import admin

from .models import Notification


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):
    list_display = ("subject", "add_time")
    list_filter = ("task_label",)
    search_fields = ("subject", "body")

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

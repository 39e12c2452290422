"""The pages of function tasks in Django's admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from ...admin import SimpleTaskAdmin
from .models import FunctionTask


@admin.register(FunctionTask)
class FunctionTaskAdmin(SimpleTaskAdmin):
    """Function tasks of all queues. They are enqueued by code only."""

    list_display: Any = ("task_path", *SimpleTaskAdmin.list_display)
    search_fields = ("task_path", "=result_id")
    readonly_fields = ("task_path", "args", "kwargs", "queue_name", "backend_name")

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """No: what a form names may not be a function that was decorated with ``@task``."""
        return False

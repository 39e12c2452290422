"""The timeline of a task as an inline, for any ModelAdmin of a task model."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ...ledger.event import TaskEvent, event_model_of
from ...models.task import SimpleTask
from .events.reading import EventSelection


class TimelineFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """A formset without forms: it has the timeline, and ignores what is posted."""

    selection = EventSelection()
    site: AdminSite

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        super().__init__(None, None, **kwargs)
        self.new_objects, self.changed_objects, self.deleted_objects = [], [], []

    def is_valid(self) -> bool:
        return True

    def has_changed(self) -> bool:
        return False

    def save(self, commit: bool = True) -> list[TaskEvent]:
        return []

    def get_queryset(self) -> Any:
        queryset: Any = self.queryset
        return queryset.none()

    @cached_property
    def page(self) -> dict[str, Any]:
        """The timeline, where the templates of a task's page look for it."""
        # Here: workers load the admin, too.
        from .facts import TaskFacts
        from .timeline import Timeline

        return {"timeline": Timeline(TaskFacts(self.site, self.instance, self.selection))}


class TaskEventInline(admin.TabularInline):  # type: ignore[type-arg]
    """The attempts of a task to scale, and its events; they cannot be added, changed or deleted.

    Add it to the ``inlines`` of any ModelAdmin of a task model; it finds the event model itself.
    The page of SimpleTaskAdmin has both without it, and updates them while the task runs.
    """

    model = TaskEvent
    fk_name = "task"
    formset = TimelineFormSet
    template = "admin/django_simpletask3/task/inline.html"
    verbose_name_plural = _("Timeline")
    extra = 0
    max_num = 0
    can_delete = False
    fields = ()

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    def __init__(self, parent_model: type[Any], admin_site: AdminSite) -> None:
        self.model = event_model_of(parent_model)
        super().__init__(parent_model, admin_site)

    def get_formset(
        self, request: HttpRequest, obj: SimpleTask | None = None, **kwargs: Any
    ) -> Any:
        """Like Django's, for the events that ``request`` selects."""
        formset = super().get_formset(request, obj, **{"fields": (), **kwargs})
        attributes = {"selection": EventSelection.of(request.GET), "site": self.admin_site}
        return type(formset.__name__, (formset,), attributes)

    def has_view_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        """True: users who may view the task may view its events."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

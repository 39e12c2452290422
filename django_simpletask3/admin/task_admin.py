"""The admin of a task model."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.db import models
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_simpletask3 import clock, permissions
from django_simpletask3.context import task_context
from django_simpletask3.events import event_model_of
from django_simpletask3.replay import PROJECTED
from django_simpletask3.states import Status

from . import badges, durations, values
from .actions import (
    django_simpletask3_cancel_for_selected,
    django_simpletask3_execute_for_selected,
    django_simpletask3_reset_for_selected,
)
from .changelist import TaskChangeList
from .timeline import TimelineInline, inline_for

# Django's own class takes a type parameter only from the type checker.
if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

_READ_ONLY = (
    *PROJECTED,
    "add_time",
    "mod_time",
    "worker",
    "lease_until",
    "status_badge",
    "run_duration",
    "waiting_time",
    "result_view",
    "error_view",
)


class SimpleTaskAdmin(_ModelAdmin):
    """Lists tasks with what became of them; a task's page ends with its timeline.

    Own columns can be edited, what the state machine writes cannot. Subclass it and extend what
    stands here: ``list_display = (*SimpleTaskAdmin.list_display, "amount")``. Own ``fieldsets`` can
    name ``SimpleTaskAdmin.task_fieldset`` and ``SimpleTaskAdmin.schedule_fieldset``.
    """

    #: How the task stands and what came of it; all of it is read-only.
    task_fieldset: ClassVar[tuple[Any, Any]] = (
        _("Task"),
        {
            "fields": (
                ("status_badge", "attempt"),
                ("add_time", "waiting_time"),
                ("start_time", "done_time", "run_duration"),
                ("worker", "lease_until"),
                "result_view",
                "error_view",
            )
        },
    )
    #: When the task may run, and before which others.
    schedule_fieldset: ClassVar[tuple[Any, Any]] = (
        _("Schedule"),
        {"fields": (("run_after", "priority"),)},
    )
    #: The inline that shows the events; None for a page without a timeline.
    timeline_inline: ClassVar[type[TimelineInline] | None] = TimelineInline

    list_display = (
        "task_label",
        "status_badge",
        "attempt",
        "run_duration",
        "waiting_time",
        "worker",
        "add_time",
    )
    list_filter = ("status", "success", "add_time", "done_time")
    # Counting all rows again would be for a number nobody needs; the table may be a large one.
    show_full_result_count = False
    actions = (
        django_simpletask3_execute_for_selected,
        django_simpletask3_reset_for_selected,
        django_simpletask3_cancel_for_selected,
    )

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    # Permissions

    def has_django_simpletask3_execute_permission(self, request: Any) -> bool:
        """Whether Django offers the action that executes tasks."""
        return permissions.may(request.user, permissions.EXECUTE, self.model)

    def has_django_simpletask3_reset_permission(self, request: Any) -> bool:
        """Whether Django offers the actions that reset and cancel tasks."""
        return permissions.may(request.user, permissions.RESET, self.model)

    # Who acts: every event that a page makes names its user.

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        with task_context(actor=request.user):
            return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: Any,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        with task_context(actor=request.user):
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request: Any, object_id: str, extra_context: Any = None) -> Any:
        with task_context(actor=request.user):
            return super().delete_view(request, object_id, extra_context)

    # The list

    def get_changelist(self, request: Any, **kwargs: Any) -> Any:
        return TaskChangeList

    def get_ordering(self, request: Any) -> Any:
        """Newest first, where neither the admin nor the model says otherwise."""
        ordering = super().get_ordering(request) or self.opts.ordering
        counted = isinstance(self.opts.pk, models.IntegerField | models.ForeignKey)
        return ordering or (("-pk",) if counted else ("-add_time",))

    # The form

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        # Another key would be another task.
        key = (self.opts.pk.name,) if obj is not None and self.opts.pk.editable else ()
        return (*super().get_readonly_fields(request, obj), *_READ_ONLY, *key)

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        """The own columns, when to run, and what came of it; unless the admin has its own sets."""
        if self.fieldsets or self.fields:
            return super().get_fieldsets(request, obj)
        elsewhere = {*_READ_ONLY, *flatten_fieldsets([self.schedule_fieldset])}
        own = [name for name in self.get_fields(request, obj) if name not in elsewhere]
        parts: list[Any] = [(None, {"fields": own}), self.schedule_fieldset, self.task_fieldset]
        return parts[0 if own else 1 : 2 if obj is None else 3]

    def get_inlines(self, request: Any, obj: Any) -> Any:
        inlines = [*super().get_inlines(request, obj)]
        if obj is None or self.timeline_inline is None:
            return inlines
        return [*inlines, inline_for(event_model_of(self.model), self.timeline_inline)]

    # Columns

    @admin.display(description=_("task"), ordering="pk")
    def task_label(self, task: Any) -> str:
        """The task's own words for itself; its key where it has none."""
        unnamed = vars(models.Model)["__str__"] is type(task).__str__
        return values.visible(str(task.pk if unnamed else task))

    @admin.display(description=_("status"), ordering="status")
    def status_badge(self, task: Any) -> SafeString | None:
        return None if task._state.adding else badges.status(task.status)

    @admin.display(description=_("duration"))
    def run_duration(self, task: Any) -> str | None:
        """How long the last run took, or the running one has been going on."""
        if task.start_time is None:
            return None
        running = task.status == Status.RUNNING
        until = clock.now(task._state.db) if running else task.done_time
        return None if until is None else durations.in_words(until - task.start_time)

    @admin.display(description=_("waiting time"))
    def waiting_time(self, task: Any) -> str | None:
        """How long the task waited for its first run, or is waiting now, since it could run."""
        if task._state.adding:
            return None
        if task.status != Status.PENDING:
            return _waited(task, task.start_time, first=task.attempt == 1)
        now = clock.now(task._state.db)
        if task.run_after is not None and task.run_after > now:
            return _("due in {}").format(durations.in_words(task.run_after - now))
        return _waited(task, now, first=task.attempt == 0)

    @admin.display(description=_("result"))
    def result_view(self, task: Any) -> SafeString | None:
        return None if task.result_data is None else values.result(task.result_data)

    @admin.display(description=_("error"))
    def error_view(self, task: Any) -> SafeString | None:
        return None if task.error_data is None else values.error(task.error_data)


def _waited(task: Any, until: datetime | None, *, first: bool) -> str | None:
    # Since when a later run was waited for, the row does not tell; the timeline does.
    if until is None or not first:
        return None
    since = task.add_time if task.run_after is None else max(task.add_time, task.run_after)
    return durations.in_words(max(until - since, timedelta(0)))

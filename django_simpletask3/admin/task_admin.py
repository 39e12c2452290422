"""The admin of a task model."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_simpletask3.context import task_context
from django_simpletask3.exceptions import DuplicateTask, TaskHeld

from ..ledger.columns import mixin_columns
from ..ledger.projection import PROJECTED
from ..models.explanation.causes import explain_row
from ..models.task import SimpleTask
from ..states import Status
from . import changelist, delete_protection, related_links
from .action_permissions import ActionPermissionsMixin
from .actions.actions import ADMIN_ACTIONS, reject_forbidden_action
from .changelist import TaskChangeList, TaskPaginator
from .html import badges, times, values
from .timeline import live
from .timeline.inline import TaskEventInline
from .viewer import Viewer, attach_viewer, decides_by_row

_READ_ONLY_COLUMNS = (*PROJECTED, "add_time", "mod_time", "worker", "check_at")
#: Methods of the admin; a column of the model with the same name is shown in their place.
_DISPLAYS = (
    "status_badge",
    "explanation_view",
    "run_duration",
    "waiting_time",
    "worker_label",
    "added_at",
    "started_at",
    "done_at",
    "held_until",
    "checked_again_at",
    "result_view",
    "error_view",
    "worker_link",
    "queue_link",
    "parent_link",
    "children_links",
    "waits_for_links",
    "dependents_links",
)


# Most rows of a table have the same status: sorting by it would sort the whole table.
_UNSORTABLE = frozenset({"attempt", "worker_label", "add_time", "status_badge"})


class SimpleTaskAdmin(ActionPermissionsMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """The list of tasks, and a page for each task that ends with its timeline.

    Columns of your own can be edited; those that the state machine writes cannot. Subclass it and
    extend its attributes: ``list_display = (*SimpleTaskAdmin.list_display, "amount")``. Your
    ``fieldsets`` can include ``SimpleTaskAdmin.task_fieldset`` and
    ``SimpleTaskAdmin.schedule_fieldset``.
    """

    #: Status, times, links, result and error of the task; all read-only.
    task_fieldset: ClassVar[tuple[Any, Any]] = (
        _("Task"),
        {
            "fields": (
                ("status_badge", "attempt"),
                "explanation_view",
                ("added_at", "waiting_time"),
                ("started_at", "done_at", "run_duration"),
                ("worker_link", "held_until", "checked_again_at"),
                ("queue_link", "parent_link"),
                "children_links",
                ("waits_for_links", "dependents_links"),
                "result_view",
                "error_view",
            )
        },
    )
    #: When the task may run, and its priority.
    schedule_fieldset: ClassVar[tuple[Any, Any]] = (
        _("Schedule"),
        {"fields": (("run_after", "priority"),)},
    )
    #: The inline that shows the events; None for a page without a timeline.
    timeline_inline: ClassVar[type[TaskEventInline] | None] = TaskEventInline

    list_display = (
        "task_label",
        "status_badge",
        "progress_label",
        "attempt",
        "run_duration",
        "waiting_time",
        "worker_label",
        "add_time",
    )
    # Filters by choices and by an index; others would read every row.
    list_filter = ("status", "done_time")
    date_hierarchy = "done_time"
    change_list_template = "admin/django_simpletask3/change_list.html"
    paginator = TaskPaginator
    # The table may be large; do not count all its rows for a total that is rarely needed.
    show_full_result_count = False
    actions = ADMIN_ACTIONS

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    # Views: each records its user as the actor of the events that it causes.

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        reject_forbidden_action(self, request)
        with task_context(actor=request.user):
            return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        with task_context(actor=request.user):
            try:
                return super().changeform_view(request, object_id, form_url, extra_context)
            except DuplicateTask as error:
                # Another task has taken the key since the form was validated.
                return self._redirect_with_error(request, error)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        with task_context(actor=request.user):
            try:
                return super().delete_view(request, object_id, extra_context)
            except TaskHeld as error:
                # The hold was added after Django had checked which tasks are protected.
                return self._redirect_with_error(request, error)

    def _redirect_with_error(self, request: HttpRequest, error: Exception) -> HttpResponseRedirect:
        self.message_user(request, values.escape_invisible(str(error)), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Like Django's, but tasks on legal hold are protected, each with a message.

        Tasks that the admin refuses to show are not deleted.
        """
        to_delete, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        is_asked = decides_by_row(self, "has_view_permission")
        if is_asked and not all(self.has_view_permission(request, task) for task in objs):
            perms_needed = {*perms_needed, str(self.opts.verbose_name)}
        return to_delete, counts, perms_needed, [*protected, *delete_protection.hold_messages(objs)]

    def get_urls(self) -> list[URLPattern]:
        """Like Django's, with the address that a task's page polls."""
        meta = self.opts
        timeline = path(
            "<path:object_id>/timeline/",
            self.admin_site.admin_view(self.timeline_view),
            name=f"{meta.app_label}_{meta.model_name}_timeline",
        )
        return [timeline, *super().get_urls()]

    def timeline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the current state of the task as JSON, to users who may view it."""
        return live.task_response(self, request, unquote(object_id))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Like Django's, which does not ask for each row that is changed in the list."""
        if change and decides_by_row(self, "has_change_permission"):
            stored = type(obj)._base_manager.using(obj._state.db).get(pk=obj.pk)
            if not self.has_change_permission(request, stored):
                raise PermissionDenied
        super().save_model(request, obj, form, change)

    # The list

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[SimpleTask], *args: Any, **kwargs: Any
    ) -> Any:
        """Like Django's, but "select all" selects at most ``changelist.MAX_LISTED`` tasks."""
        if request.POST.get("select_across", "0") != "0":
            pks = list(queryset.values_list("pk", flat=True)[: changelist.MAX_LISTED + 1])
            if len(pks) > changelist.MAX_LISTED:
                queryset = queryset.filter(pk__in=pks[:-1])
        is_deletion = "delete_selected" in request.POST.getlist("action")
        # Django writes its log entries before it deletes. Our actions use their own transactions.
        log_transaction = transaction.atomic(using=router.db_for_write(LogEntry))
        try:
            with log_transaction if is_deletion else nullcontext():
                return super().response_action(request, queryset, *args, **kwargs)
        except TaskHeld as error:
            return self._redirect_with_error(request, error)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return TaskChangeList

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """The listed columns, without those of this package that have no index."""
        return [name for name in super().get_sortable_by(request) if name not in _UNSORTABLE]

    def get_ordering(self, request: HttpRequest) -> Any:
        """Newest first, unless the admin or the model defines an ordering.

        Empty if keys are not sequential: TaskChangeList, which knows its length, decides.
        """
        ordering = super().get_ordering(request) or self.opts.ordering
        is_sequential = isinstance(self.opts.pk, models.AutoField | models.ForeignKey)
        return ordering or (("-pk",) if is_sequential else ())

    # The form

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Like Django's, with the viewer attached to the task."""
        task = super().get_object(request, object_id, from_field)
        if task is not None:
            attach_viewer(task, Viewer(self.admin_site, request))
        return task

    def get_readonly_fields(self, request: HttpRequest, obj: SimpleTask | None = None) -> Any:
        # Changing the key would create another task.
        pk = self.opts.pk
        is_user_chosen = (
            pk.editable and not isinstance(pk, models.AutoField) and pk.remote_field is None
        )
        key = (pk.name,) if is_user_chosen and obj is not None else ()
        read_only = super().get_readonly_fields(request, obj)
        return (*read_only, *_READ_ONLY_COLUMNS, *self._mixin_columns(obj), *self._displays(), *key)

    def _mixin_columns(self, obj: SimpleTask | None) -> tuple[str, ...]:
        """When the task expires, and its unique key, if tasks of the model do or have one."""
        return () if obj is None else mixin_columns(type(obj))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Like Django's, with labels for screen readers on the date and time of ``run_after``."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "run_after" and hasattr(getattr(field, "widget", None), "widgets"):
            for half, name in zip(field.widget.widgets, (_("date"), _("time")), strict=True):
                half.attrs["aria-label"] = f"{db_field.verbose_name}: {name}"
        return field

    def get_fieldsets(self, request: HttpRequest, obj: SimpleTask | None = None) -> Any:
        """The model's columns, the schedule and the task, unless the admin sets ``fieldsets``."""
        if self.fieldsets or self.fields:
            return super().get_fieldsets(request, obj)
        title, shown = self.schedule_fieldset
        schedule: Any = (title, {**shown, "fields": (*shown["fields"], *self._mixin_columns(obj))})
        schedule_fields = flatten_fieldsets([schedule])
        package_fields = {*_READ_ONLY_COLUMNS, *self._displays(), *schedule_fields}
        own_fields = [name for name in self.get_fields(request, obj) if name not in package_fields]
        own = (None, {"fields": own_fields})
        task = _without(self.task_fieldset, set(_DISPLAYS).difference(self._displays()))
        parts: list[Any] = [own, schedule, task]
        return parts[0 if own_fields else 1 : 2 if obj is None else 3]

    def _displays(self) -> tuple[str, ...]:
        columns = {field.name for field in self.opts.get_fields()}
        return tuple(name for name in _DISPLAYS if name not in columns)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        inlines = [*super().get_inlines(request, obj)]
        if obj is None or self.timeline_inline is None:
            return inlines
        return [*inlines, self.timeline_inline]

    # Columns

    @admin.display(description=_("task"), ordering="pk")
    def task_label(self, task: SimpleTask) -> str:
        """``str(task)`` if the model defines ``__str__``, else the key."""
        model: type[models.Model] = type(task)
        has_default_str = model.__str__ is SimpleTask.__str__
        return values.escape_invisible(str(task.pk if has_default_str else task))

    @admin.display(description=_("status"), ordering="status")
    def status_badge(self, task: SimpleTask) -> SafeString | str:
        return self._empty_value if task._state.adding else badges.status(task.status)

    @admin.display(description=_("progress"))
    def progress_label(self, task: SimpleTask) -> str:
        """How far a running task is, in the list."""
        return str(getattr(task, "_admin_progress", None) or "")

    @admin.display(description=_("explanation"))
    def explanation_view(self, task: SimpleTask) -> str:
        """Why the task does not run now, as ``task.explain()`` says it."""
        return self._empty_value if task._state.adding else explain_row(task).translate()

    @admin.display(description=_("duration"))
    def run_duration(self, task: SimpleTask) -> str:
        """The duration of the current or last run."""
        return times.run_duration(task) or self._empty_value

    @admin.display(description=_("waiting time"))
    def waiting_time(self, task: SimpleTask) -> str:
        """How long the task has waited for its first run since it was due."""
        return times.waiting_duration(task) or self._empty_value

    @admin.display(description=_("worker"))
    def worker_label(self, task: SimpleTask) -> SafeString | str:
        return badges.worker(task.worker)

    @admin.display(description=_("add time"))
    def added_at(self, task: SimpleTask) -> SafeString | str:
        return self._format_instant(task, task.add_time)

    @admin.display(description=_("start time"))
    def started_at(self, task: SimpleTask) -> SafeString | str:
        return self._format_instant(task, task.start_time)

    @admin.display(description=_("done time"))
    def done_at(self, task: SimpleTask) -> SafeString | str:
        return self._format_instant(task, task.done_time)

    @admin.display(description=_("held until"))
    def held_until(self, task: SimpleTask) -> SafeString | str:
        """When the lease of a running task ends; empty, and hidden, in any other status."""
        return self._check_time(task, Status.RUNNING)

    @admin.display(description=_("checked again at"))
    def checked_again_at(self, task: SimpleTask) -> SafeString | str:
        """When recovery next examines a waiting or blocked task; else empty, and hidden.

        Recovery examines a blocked task only if it can expire.
        """
        return self._check_time(task, Status.PENDING, Status.BLOCKED)

    @admin.display(description=_("worker"))
    def worker_link(self, task: SimpleTask) -> SafeString | str:
        return related_links.worker(self.admin_site, task) or self._empty_value

    @admin.display(description=_("queue"))
    def queue_link(self, task: SimpleTask) -> SafeString | str:
        return related_links.queue(self.admin_site, task)

    @admin.display(description=_("parent"))
    def parent_link(self, task: SimpleTask) -> SafeString | str:
        """The task whose task function enqueued this one."""
        return related_links.parent(task) or self._empty_value

    @admin.display(description=_("children"))
    def children_links(self, task: SimpleTask) -> SafeString | str:
        """The tasks that this task's function enqueued."""
        return related_links.children(task) or self._empty_value

    @admin.display(description=_("waits for"))
    def waits_for_links(self, task: SimpleTask) -> SafeString | str:
        """The tasks that this one waits, or has waited, for."""
        return related_links.waits_for(task) or self._empty_value

    @admin.display(description=_("dependent tasks"))
    def dependents_links(self, task: SimpleTask) -> SafeString | str:
        """The tasks that wait, or have waited, for this one."""
        return related_links.dependents(task) or self._empty_value

    @admin.display(description=_("result"))
    def result_view(self, task: SimpleTask) -> SafeString | str:
        return self._empty_value if task.result_data is None else values.result(task.result_data)

    @admin.display(description=_("error"))
    def error_view(self, task: SimpleTask) -> SafeString | str:
        return self._empty_value if task.error_data is None else values.error(task.error_data)

    @property
    def _empty_value(self) -> str:
        return str(self.get_empty_value_display())

    def _check_time(self, task: SimpleTask, *statuses: Status) -> SafeString | str:
        if task.status not in statuses or task.check_at is None or task._state.adding:
            return ""
        return times.format_instant(task.check_at)

    def _format_instant(self, task: SimpleTask, instant: datetime | None) -> SafeString | str:
        if instant is None or task._state.adding:
            return self._empty_value
        return times.format_instant(instant)


def _without(fieldset: tuple[Any, Any], hidden: set[str]) -> tuple[Any, Any]:
    """``fieldset`` without the fields called ``hidden``."""
    title, options = fieldset
    if not hidden:
        return fieldset
    rows = [(row,) if isinstance(row, str) else row for row in options["fields"]]
    kept = [tuple(name for name in row if name not in hidden) for row in rows]
    return title, {**options, "fields": tuple(row for row in kept if row)}

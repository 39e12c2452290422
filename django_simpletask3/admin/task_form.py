"""The form of a task: which fields it has, and which of them are read-only."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..ledger.columns import mixin_columns
from ..ledger.projection import PROJECTED
from ..models.task import SimpleTask
from ..states import FINAL, Status
from .viewer import Viewer, attach_viewer

_READ_ONLY_COLUMNS = (*PROJECTED, "add_time", "mod_time", "worker", "check_at")
#: Methods of the admin; a column of the model with the same name is shown in their place.
_DISPLAYS = (
    "status_badge",
    "explanation_view",
    "run_duration",
    "waiting_time",
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


class TaskFormAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The fields of SimpleTaskAdmin: those of the model, and the schedule of the task."""

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
        """The model's columns and the schedule, unless the admin sets ``fieldsets``.

        The schedule of a running or finished task has no ``run_after``, which counts no more.
        """
        if self.fieldsets or self.fields:
            return super().get_fieldsets(request, obj)
        title, shown = self.schedule_fieldset
        has_begun = obj is not None and obj.status in (Status.RUNNING, *FINAL)
        names = (*shown["fields"], *self._mixin_columns(obj))
        schedule: Any = (title, {**shown, "fields": names})
        schedule_fields = flatten_fieldsets([schedule])
        package_fields = {*_READ_ONLY_COLUMNS, *self._displays(), *schedule_fields}
        own_fields = [name for name in self.get_fields(request, obj) if name not in package_fields]
        shown_schedule = _without(schedule, {"run_after"} if has_begun else set())
        return [*([(None, {"fields": own_fields})] if own_fields else []), shown_schedule]

    def _displays(self) -> tuple[str, ...]:
        columns = {field.name for field in self.opts.get_fields()}
        return tuple(name for name in _DISPLAYS if name not in columns)


def _without(fieldset: tuple[Any, Any], hidden: set[str]) -> tuple[Any, Any]:
    """``fieldset`` without the fields called ``hidden``."""
    title, options = fieldset
    if not hidden:
        return fieldset
    rows = [(row,) if isinstance(row, str) else row for row in options["fields"]]
    kept = [tuple(name for name in row if name not in hidden) for row in rows]
    return title, {**options, "fields": tuple(row for row in kept if row)}

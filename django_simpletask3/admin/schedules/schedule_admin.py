"""The admin of schedules: last and next ticks, enable and disable, run now, own schedules."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models, router
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ...db import clock
from ...monitoring.schedules import in_zone_of, is_orphaned, last_ticks_of
from ...schedules import operators
from ...schedules.history import KEPT_TICKS
from ...schedules.tables import Schedule, ScheduleTick, ticks_of
from ...schedules.targets import ScheduleTarget, all_targets, find_target
from ..package_list import TEMPLATE
from ..viewer import Viewer
from .actions import ScheduleActions, database
from .columns import (
    ScheduleChangeList,
    exact_text,
    last_run,
    name_cell,
    next_run,
    next_tick_times,
    outcome_word,
    status_pill,
    task_link,
    when_cell,
)
from .forms import COLUMNS, ScheduleForm

#: Next ticks on the page of a schedule.
_NEXT_TICKS = 10
#: Digits of a key: more are out of the range of a database.
_MAX_DIGITS = 18
_BREAK = SafeString("<br>")
_STATE = ("state", "next_view", "ticks_view")


@admin.register(Schedule)
class ScheduleAdmin(ScheduleActions):
    """Schedules with their ticks. Those of the code are read-only; own ones can be changed."""

    form = ScheduleForm
    change_list_template = TEMPLATE
    list_display = ("name_view", "status_view", "next_run", "when_view", "last_run")
    actions_on_bottom = False
    list_filter = ("enabled", "is_own")
    search_fields = ("key", "target")
    ordering = ("key",)
    show_full_result_count = False

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """The schedules of task models that the user may view, and those whose model is gone."""
        schedules = super().get_queryset(request)
        viewer = Viewer(self.admin_site, request)
        keys = Schedule._default_manager.order_by().values_list("target", flat=True).distinct()
        targets = {key: find_target(key) for key in keys}
        hidden = [key for key, t in targets.items() if t and not viewer.may_view(t.model)]
        return schedules.exclude(target__in=hidden) if hidden else schedules

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """A list of one line for each schedule."""
        return ScheduleChangeList

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """As Django's; the last ticks of the page are read in one query."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        last = last_ticks_of(database(), rows)
        viewer, now = Viewer(self.admin_site, request), clock.utc_now(database())
        for row in rows:
            row.last, row.viewer, row.now = last.get(row.key), viewer, now
        changelist.result_list = rows
        return changelist

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """As Django's; knows who views it."""
        row: Any = super().get_object(request, *args, **kwargs)
        if row is not None:
            row.viewer = Viewer(self.admin_site, request)
        return row

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The columns of the form, and what has become of the schedule."""
        return (*COLUMNS, *_STATE) if obj is not None else COLUMNS

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All columns of a schedule of the code; of an own one only its key."""
        if obj is None:
            return ()
        return (*COLUMNS, *_STATE) if not obj.is_own else ("key", *_STATE)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The form, with the targets of which the user may add tasks."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.targets = {t.key: t for t in all_targets() if self._may_choose(request, t)}
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The columns of the schedule that is copied, if one is."""
        pk = request.GET.get("copy", "")
        row = self.get_queryset(request).filter(pk=pk).first() if _is_number(pk) else None
        if row is None:
            return {"zone": timezone.get_default_timezone_name(), "fields": {}}
        initial = {name: getattr(row, name) for name in COLUMNS}
        return {**initial, "key": "", "fields": row.fields or {}}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of own schedules; of those of the code for actions, which ask for no one schedule."""
        is_theirs = obj is not None and not obj.is_own
        return not is_theirs and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not of a schedule that the code declares: the next node would write it again."""
        is_theirs = obj is not None and not operators.may_delete(obj)
        return not is_theirs and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """As Django's; schedules that the code declares are protected."""
        *found, protected = super().get_deleted_objects(objs, request)
        declared = [str(row) for row in objs if not operators.may_delete(row)]
        return (*found, [*protected, *declared])

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save an own schedule."""
        operators.save_own(obj, database())

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete a schedule and its ticks."""
        operators.delete([obj], database())

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete schedules and their ticks."""
        operators.delete(list(queryset), database())

    @admin.display(description=_("when"))
    def when_view(self, row: Schedule) -> SafeString:
        """The expression and its zone, or the interval."""
        return when_cell(row)

    @admin.display(description=_("state"))
    def state(self, row: Any) -> str:
        """Whether it is fired, and why not."""
        try:
            row.parse_ticks()
        except ValueError as error:
            return str(error)
        if not row.enabled:
            return f"{_('disabled')}: {row.reason}" if row.reason else str(_("disabled"))
        if is_orphaned(row, database()):
            return str(_("not fired: the code no longer has it"))
        return str(_("enabled"))

    @admin.display(description=_("schedule"), ordering="key")
    def name_view(self, row: Schedule) -> SafeString:
        """Its key."""
        return name_cell(row)

    @admin.display(description=_("status"), ordering="enabled")
    def status_view(self, row: Schedule) -> SafeString:
        """Whether it is fired, as a pill."""
        return status_pill(row, self.state(row))

    @admin.display(description=_("next run"), empty_value="")
    def next_run(self, row: Any) -> SafeString | str:
        """When it is due next, and how soon."""
        return next_run(row, self.state(row), row.now)

    @admin.display(description=_("last run"), empty_value="")
    def last_run(self, row: Any) -> SafeString | str:
        """When it was due last, what became of it, and its task."""
        return last_run(row, row.now)

    @admin.display(description=_("next ticks"))
    def next_view(self, row: Schedule) -> SafeString | str:
        """The next ten ticks."""
        lines = ((exact_text(tick),) for tick in next_tick_times(row, _NEXT_TICKS))
        return format_html_join(_BREAK, "{}", lines) or "-"

    @admin.display(description=_("ticks"))
    def ticks_view(self, row: Any) -> SafeString | str:
        """The newest ticks, with their tasks and messages."""
        ticks = ticks_of(database()).filter(schedule=row.key).order_by("-tick")[:KEPT_TICKS]
        lines = ((_tick_line(row, tick), tick.message) for tick in ticks)
        return format_html_join(_BREAK, "{} {}", lines) or "-"

    def _may_choose(self, request: HttpRequest, target: ScheduleTarget) -> bool:
        is_here = router.db_for_write(target.model) == database()
        return is_here and self.may_add_tasks(request, target)


def _is_number(text: str) -> bool:
    """Whether a database may be asked for that key."""
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def _tick_line(row: Any, tick: ScheduleTick) -> SafeString:
    time = exact_text(in_zone_of(row, tick.tick))
    return format_html("{} {} {}", time, outcome_word(tick), task_link(tick, row.viewer))

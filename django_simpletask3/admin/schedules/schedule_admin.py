"""The admin of schedules: last and next ticks, enable and disable, run now, own schedules."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import Error, models, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ...context import task_context
from ...db import clock
from ...db.errors import error_text
from ...exceptions import SimpleTaskError
from ...models.task import SimpleTask
from ...monitoring.schedules import in_zone_of, is_orphaned, last_ticks_of, next_ticks, when_text
from ...schedules import operators
from ...schedules.due import NotDeclared, fields_at
from ...schedules.firing import run_now
from ...schedules.history import KEPT_TICKS
from ...schedules.tables import Outcome, Schedule, ScheduleTick, ticks_of
from ...schedules.targets import ScheduleTarget, all_targets, find_target
from ..viewer import Viewer, page_model
from .forms import COLUMNS, ReasonActionForm, ScheduleForm

#: Next ticks on the page of a schedule, and schedules that are run now at once.
_NEXT_TICKS = 10
_MAX_RUNS = 100
#: Digits of a key: more are out of the range of a database.
_MAX_DIGITS = 18
_BREAK = SafeString("<br>")
_STATE = ("state", "next_view", "ticks_view")


@admin.register(Schedule)
class ScheduleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Schedules with their ticks. Those of the code are read-only; own ones can be changed."""

    form = ScheduleForm
    action_form = ReasonActionForm
    list_display = ("key", "target", "when_view", "state", "last_view", "next_tick")
    list_filter = ("enabled", "is_own")
    search_fields = ("key", "target")
    ordering = ("key",)
    actions = ("enable_selected", "disable_selected", "run_now_selected", "copy_selected")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """The schedules of task models that the user may view, and those whose model is gone."""
        schedules = super().get_queryset(request)
        viewer = Viewer(self.admin_site, request)
        keys = Schedule._default_manager.order_by().values_list("target", flat=True).distinct()
        targets = {key: find_target(key) for key in keys}
        hidden = [key for key, t in targets.items() if t and not viewer.may_view(t.model)]
        return schedules.exclude(target__in=hidden) if hidden else schedules

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """As Django's; the last ticks of the page are read in one query."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        last = last_ticks_of(_database(), rows)
        viewer = Viewer(self.admin_site, request)
        for row in rows:
            row.last, row.viewer = last.get(row.key), viewer
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
        operators.save_own(obj, _database())

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete a schedule and its ticks."""
        operators.delete([obj], _database())

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete schedules and their ticks."""
        operators.delete(list(queryset), _database())

    @admin.display(description=_("when"))
    def when_view(self, row: Schedule) -> str:
        """The expression and its zone, or the interval."""
        return f"{when_text(row)} {row.zone}".strip()

    @admin.display(description=_("state"))
    def state(self, row: Any) -> str:
        """Whether it is fired, and why not."""
        try:
            row.parse_ticks()
        except ValueError as error:
            return str(error)
        if not row.enabled:
            return f"{_('disabled')}: {row.reason}" if row.reason else str(_("disabled"))
        if is_orphaned(row, _database()):
            return str(_("not fired: the code no longer has it"))
        return str(_("enabled"))

    @admin.display(description=_("last tick"))
    def last_view(self, row: Any) -> SafeString | str:
        """What became of the last tick, and its task."""
        return "-" if row.last is None else _tick_line(row, row.last)

    @admin.display(description=_("next tick"))
    def next_tick(self, row: Schedule) -> str:
        """When it is due next."""
        return next(iter(_next(row, 1)), "-")

    @admin.display(description=_("next ticks"))
    def next_view(self, row: Schedule) -> SafeString | str:
        """The next ten ticks."""
        return format_html_join(_BREAK, "{}", ((tick,) for tick in _next(row, _NEXT_TICKS))) or "-"

    @admin.display(description=_("ticks"))
    def ticks_view(self, row: Any) -> SafeString | str:
        """The newest ticks, with their tasks and messages."""
        ticks = ticks_of(_database()).filter(schedule=row.key).order_by("-tick")[:KEPT_TICKS]
        lines = ((_tick_line(row, tick), tick.message) for tick in ticks)
        return format_html_join(_BREAK, "{} {}", lines) or "-"

    @admin.action(permissions=["change"], description=_("Enable selected schedules"))
    def enable_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Enable schedules from their next ticks on."""
        rows = list(queryset.filter(enabled=False))
        count = operators.enable(_pks_of(rows), _database(), request.POST.get("reason", ""))
        self._log(request, rows, "enabled")
        text = ngettext("%d schedule was enabled.", "%d schedules were enabled.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    @admin.action(permissions=["change"], description=_("Disable selected schedules"))
    def disable_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Disable schedules; the list shows the reason."""
        rows = list(queryset.filter(enabled=True))
        count = operators.disable(_pks_of(rows), _database(), request.POST.get("reason", ""))
        self._log(request, rows, "disabled")
        text = ngettext("%d schedule was disabled.", "%d schedules were disabled.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    @admin.action(permissions=["change"], description=_("Run selected schedules now"))
    def run_now_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Enqueue a task of each schedule, beside its ticks; at most a hundred."""
        count = 0
        for row in queryset[:_MAX_RUNS]:
            if error := self._run_now(request, row):
                self.message_user(request, f"{row}: {error}", messages.ERROR)
            else:
                count += 1
        text = ngettext("%d task was enqueued.", "%d tasks were enqueued.", count)
        self.message_user(request, text % count, messages.SUCCESS if count else messages.WARNING)

    @admin.action(permissions=["add"], description=_("Copy as own schedule"))
    def copy_selected(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> HttpResponse | None:
        """Open the form of a new schedule with the columns of the one that was selected."""
        pks = _pks_of(queryset[:2])
        if len(pks) != 1:
            self.message_user(request, _("Select one schedule to copy."), messages.WARNING)
            return None
        name = f"{self.admin_site.name}:django_simpletask3_schedule_add"
        return HttpResponseRedirect(f"{reverse(name)}?copy={pks[0]}")

    def _run_now(self, request: HttpRequest, row: Schedule) -> object:
        """Enqueue a task of the schedule; what is wrong, or nothing."""
        target, using = find_target(row.target), _database()
        if target is None or is_orphaned(row, using):
            return _("not fired: the code no longer has it")
        if not self._may_add(request, target):
            return _("You may not add tasks of this model.")
        clock.refresh(using)  # a web process may never have read it
        now = clock.utc_now(using)
        reason = request.POST.get("reason", "").strip()
        try:
            with task_context(actor=request.user, reason=reason):
                run_now(row, target, _fields_now(row, now), now, using)
        except NotDeclared:
            return _("not fired: the code no longer has it")
        except _FieldsRaised as error:
            return str(error)
        except ValidationError as error:
            return "; ".join(error.messages)
        except (SimpleTaskError, Error, ValueError, TypeError) as error:
            return error_text(error)
        self.log_change(request, row, "run now")
        return None

    def _may_choose(self, request: HttpRequest, target: ScheduleTarget) -> bool:
        is_here = router.db_for_write(target.model) == _database()
        return is_here and self._may_add(request, target)

    def _may_add(self, request: HttpRequest, target: ScheduleTarget) -> bool:
        model: Any = page_model(target.model)
        # The admin of function tasks has no form to add one.
        if self.admin_site.is_registered(model) and not model._model_is_in_row:
            return bool(self.admin_site.get_model_admin(model).has_add_permission(request))
        name = f"{model._meta.app_label}.add_{model._meta.model_name}"
        return bool(request.user.has_perm(name))

    def _log(self, request: HttpRequest, rows: Iterable[Schedule], what: str) -> None:
        reason = request.POST.get("reason", "").strip()
        for row in rows:
            self.log_change(request, row, f"{what}: {reason}" if reason else what)


class _FieldsRaised(Exception):
    """The function of the fields raised something; the message says what."""


def _fields_now(row: Schedule, now: datetime) -> dict[str, Any]:
    try:
        return fields_at(row, now)
    except NotDeclared:
        raise
    except Exception as error:
        raise _FieldsRaised(f"{type(error).__name__}: {error_text(error)}") from error


def _database() -> str:
    return router.db_for_write(Schedule)


def _pks_of(rows: Iterable[Schedule]) -> list[int]:
    return [row.pk for row in rows]


def _is_number(text: str) -> bool:
    """Whether a database may be asked for that key."""
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def _next(row: Schedule, number: int) -> list[str]:
    if is_orphaned(row, _database()):
        return []
    try:
        ticks = next_ticks(row, clock.utc_now(_database()), number)
    except (ValueError, OverflowError):
        return []
    return [_text(tick) for tick in ticks]


def _text(tick: datetime) -> str:
    """The time of the zone of the schedule, with that zone's offset."""
    return f"{date_format(tick, 'DATETIME_FORMAT', use_l10n=True)} {tick:%z}"


def _tick_line(row: Any, tick: ScheduleTick) -> SafeString:
    time = _text(in_zone_of(row, tick.tick))
    outcome = Outcome(tick.outcome).label if tick.outcome in Outcome.values else tick.outcome
    return format_html("{} {} {}", time, outcome, _task_link(tick, row.viewer))


def _task_link(tick: ScheduleTick, viewer: Viewer) -> SafeString | str:
    if not tick.task_key:
        return ""
    try:
        model: Any = apps.get_model(tick.model)
    except (LookupError, ValueError):
        return f"{tick.model} {tick.task_key}"
    if not issubclass(model, SimpleTask):
        return ""
    return viewer.link(model, _database(), tick.task_key)

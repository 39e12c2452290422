"""The admin actions of schedules: enable, disable, run now and copy; all but copy confirm first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import Error, models, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ...context import task_context
from ...db import clock
from ...db.errors import error_text
from ...exceptions import SimpleTaskError
from ...monitoring.schedules import is_orphaned
from ...schedules import operators
from ...schedules.due import NotDeclared, fields_at
from ...schedules.firing import has_joined, run_now
from ...schedules.tables import Schedule
from ...schedules.targets import ScheduleTarget, find_target
from ..actions.confirmation import is_confirmed, reason_of
from ..actions.selection import posted_keys
from ..viewer import page_model
from .confirmation import DISABLE, ENABLE, RUN_NOW, render_page

#: Schedules that are run now at once.
MAX_RUNS = 100
_NOT_FIRED = _("not fired: the code no longer has it")
_IS_ENABLED = _("is enabled already")
_IS_DISABLED = _("is disabled already")
_TOO_MANY = _("at most a hundred are run at once")
_MAY_NOT_ADD = _("You may not add tasks of this model.")


class ScheduleActions(admin.ModelAdmin):  # type: ignore[type-arg]
    """What operators do with the schedules that they select."""

    actions = ("enable_selected", "disable_selected", "run_now_selected", "copy_selected")

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Like Django's, but a confirmed action changes the schedules of its page only."""
        keys = posted_keys(request)
        if keys is not None:
            queryset = queryset.filter(pk__in=keys)
        return super().response_action(request, queryset, *args, **kwargs)

    @admin.action(permissions=["change"], description=_("Enable"))
    def enable_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """They are fired from their next ticks on; what was missed is not made up for."""
        if not is_confirmed(request):
            effects = [(row, _IS_ENABLED if row.enabled else "") for row in queryset]
            return render_page(
                self, request, "enable_selected", ENABLE, effects, becomes=_("enabled")
            )
        rows = list(queryset.filter(enabled=False))
        count = operators.enable(_pks_of(rows), database(), reason_of(request))
        self._log(request, rows, "enabled")
        text = ngettext("%d schedule was enabled.", "%d schedules were enabled.", count)
        self.message_user(request, text % count, messages.SUCCESS)
        return None

    @admin.action(permissions=["change"], description=_("Disable"))
    def disable_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """No tick of them is fired until they are enabled again; the list shows the reason."""
        if not is_confirmed(request):
            effects = [(row, "" if row.enabled else _IS_DISABLED) for row in queryset]
            return render_page(
                self, request, "disable_selected", DISABLE, effects, becomes=_("disabled")
            )
        rows = list(queryset.filter(enabled=True))
        count = operators.disable(_pks_of(rows), database(), reason_of(request))
        self._log(request, rows, "disabled")
        text = ngettext("%d schedule was disabled.", "%d schedules were disabled.", count)
        self.message_user(request, text % count, messages.SUCCESS)
        return None

    @admin.action(permissions=["change"], description=_("Run now"))
    def run_now_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """A task of each is enqueued now, beside its ticks; at most a hundred at once."""
        if not is_confirmed(request):
            effects = [
                (row, self._why_not(request, row) if n < MAX_RUNS else _TOO_MANY)
                for n, row in enumerate(queryset)
            ]
            return render_page(self, request, "run_now_selected", RUN_NOW, effects)
        count = 0
        for row in queryset[:MAX_RUNS]:
            if problem := self._run_now(request, row):
                self.message_user(request, f"{row}: {problem}", messages.ERROR)
            else:
                count += 1
        text = ngettext("%d task was enqueued.", "%d tasks were enqueued.", count)
        self.message_user(request, text % count, messages.SUCCESS if count else messages.WARNING)
        return None

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

    def may_add_tasks(self, request: HttpRequest, target: ScheduleTarget) -> bool:
        """Whether the user may add tasks of ``target``."""
        model: Any = page_model(target.model)
        # The admin of function tasks has no form to add one.
        if self.admin_site.is_registered(model) and not model._model_columns:
            return bool(self.admin_site.get_model_admin(model).has_add_permission(request))
        name = f"{model._meta.app_label}.add_{model._meta.model_name}"
        return bool(request.user.has_perm(name))

    def _why_not(self, request: HttpRequest, row: Schedule) -> Any:
        """Why no task of the schedule can be enqueued; empty if one can."""
        target = find_target(row.target)
        if target is None or is_orphaned(row, database()):
            return _NOT_FIRED
        return "" if self.may_add_tasks(request, target) else _MAY_NOT_ADD

    def _run_now(self, request: HttpRequest, row: Schedule) -> Any:
        """Enqueue a task of the schedule; why there is no new one, or nothing."""
        target, using = find_target(row.target), database()
        if (why_not := self._why_not(request, row)) or target is None:
            return why_not
        clock.refresh(using)  # a web process may never have read it
        now = clock.utc_now(using)
        try:
            with task_context(actor=request.user, reason=reason_of(request)):
                task = run_now(row, target, _fields_now(row, now), now, using)
        except NotDeclared:
            return _NOT_FIRED
        except _FieldsRaised as error:
            return str(error)
        except ValidationError as error:
            return "; ".join(error.messages)
        except (SimpleTaskError, Error, ValueError, TypeError) as error:
            return error_text(error)
        self._log(request, [row], "run now")
        return _("There is a task with this key already.") if has_joined(task) else None

    def _log(self, request: HttpRequest, rows: Iterable[Schedule], what: str) -> None:
        reason = reason_of(request)
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


def database() -> str:
    """The database whose schedules the admin shows."""
    return router.db_for_write(Schedule)


def _pks_of(rows: Iterable[Schedule]) -> list[int]:
    return [row.pk for row in rows]

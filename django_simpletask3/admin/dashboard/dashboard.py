"""The page of queues, workers and figures, and what may be asked of them there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from ...context import task_context
from ...exceptions import QueueUnavailable
from ...ledger.task_row import table_model
from ...models.task import Dashboard
from ...monitoring import health, problems, statistics
from ...monitoring.scope import QueryScope
from ...monitoring.statistics import Period
from ...queue import get_queue
from ..html import times, values
from ..html.times import in_words
from ..viewer import Viewer
from . import charts, commands, recoveries
from .running import running

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

_PERIODS = {
    Period.HOUR: _("Last hour"),
    Period.DAY: _("Last day"),
    Period.WEEK: _("Last week"),
    Period.MONTH: _("Last month"),
}
_SHOWN = 10


@admin.register(Dashboard)
class DashboardAdmin(_ModelAdmin):
    """Queues, workers and figures of the task models that the user may view.

    Who may view the dashboard sees it; who may change it pauses queues and stops workers.
    """

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> Any:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name="django_simpletask3_dashboard_changelist"),
            path(
                "instruct/",
                wrap(require_POST(self.instruct_view)),
                name="django_simpletask3_dashboard_instruct",
            ),
            path(
                "recoveries/",
                wrap(self.recoveries_view),
                name="django_simpletask3_dashboard_recoveries",
            ),
            path(
                "recoveries/export/",
                wrap(self.export_view),
                name="django_simpletask3_dashboard_export",
            ),
        ]

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        """The dashboard. A dozen queries, whatever the size of the tables."""
        self._refuse_unless_viewer(request)
        period = _period(request.GET.get("period", ""))
        viewer = Viewer(self.admin_site, request)
        shown = viewer.models()
        told = values.visible_in(health.snapshot())
        scope = viewer.scope(_silent(told))
        may_change = self.has_change_permission(request)
        context = {
            **self._page_context(request, _("Dashboard")),
            "may_change": may_change,
            "queues": list(self._queues(told, viewer, shown)),
            "workers": list(self._workers(told, viewer, values.visible_in(running(scope)))),
            "subscriptions": [_subscription(one) for one in told["subscriptions"]],
            "period": str(period),
            "periods": [(str(one), label) for one, label in _PERIODS.items()],
            "charts": charts.charts(statistics.time_buckets(period, scope), period)
            if shown
            else [],
            "recoveries": recoveries.of_the_day(scope),
            "problems": _problems(told, scope, in_full=may_change),
            **(extra_context or {}),
        }
        return self._answer(request, "dashboard", context)

    def recoveries_view(self, request: Any) -> Any:
        """What was lost, given up, given back or refused, the newest first."""
        self._refuse_unless_viewer(request)
        context = self._page_context(request, _("Recoveries"))
        context |= recoveries.context(self.admin_site, request)
        return self._answer(request, "recoveries", context)

    def export_view(self, request: Any) -> Any:
        """The same as comma-separated values, all of it."""
        self._refuse_unless_viewer(request)
        return recoveries.export(self.admin_site, request)

    def instruct_view(self, request: Any) -> Any:
        """Pause or resume a queue, put its dead letters back, or ask a worker to stop."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        reason = values.visible(request.POST.get("reason", "")).strip()[:255]
        target = request.POST.get("target", "")
        order = commands.ORDERS.get(request.POST.get("what", ""))
        if order is None:
            raise PermissionDenied
        with task_context(actor=request.user, reason=reason):
            said = order(Viewer(self.admin_site, request), target)
        if said is not None:
            self._log(request, f"{request.POST['what']} {target}: {reason}")
            self.message_user(request, said, messages.SUCCESS)
        name = f"{self.admin_site.name}:django_simpletask3_dashboard_changelist"
        return HttpResponseRedirect(reverse(name))

    def _refuse_unless_viewer(self, request: Any) -> None:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied

    def _page_context(self, request: Any, title: Any) -> dict[str, Any]:
        each = self.admin_site.each_context(request)
        return {**each, "title": title, "opts": self.opts, "media": self.media}

    def _answer(self, request: Any, template: str, context: Mapping[str, Any]) -> TemplateResponse:
        request.current_app = self.admin_site.name
        name = f"admin/django_simpletask3/{template}.html"
        return TemplateResponse(request, name, dict(context))

    def _log(self, request: Any, words: str) -> None:
        LogEntry.objects.create(
            user=request.user,
            content_type=ContentType.objects.get_for_model(Dashboard, for_concrete_model=False),
            object_repr=words[:200],
            action_flag=CHANGE,
            change_message=words,
        )

    def _queues(self, told: health.Health, viewer: Viewer, shown: list[Any]) -> Any:
        tables: dict[str, list[Any]] = {}
        for table in told["tables"]:
            tables.setdefault(table["model"], []).append(table)
        by_label = {model._meta.label: model for model in shown}
        for one in told["models"]:
            model = by_label.get(one["model"])
            if model is not None:
                yield {
                    **one,
                    "name": viewer.list_link(model, one["model"]),
                    "letters": _letters(model) if one["dead_letters"] else [],
                    **_rows(model, tables),
                }

    def _workers(self, told: health.Health, viewer: Viewer, going: dict[str, Any]) -> Any:
        for one in told["workers"]:
            runs = going.pop(one["worker"], [])
            yield _worker(viewer, one["worker"], runs) | {
                "seen": in_words(timedelta(seconds=one["seconds_since_report"])),
                "threads": sum(said["threads"] for said in one.get("models", {}).values()),
                "is_asked": one["is_to_stop"],
                "is_known": True,
            }
        for worker, runs in sorted(going.items()):
            yield _worker(viewer, worker, runs) | {"is_known": False}


def _rows(model: Any, tables: Mapping[str, list[Any]]) -> dict[str, Any]:
    """What stands in the table of ``model``; proxies and children are counted with their root."""
    root = table_model(model)
    if root is not model:
        return {"root": root._meta.label}
    mine = tables.get(model._meta.label, [])
    waits = [t["longest_wait"] for t in mine if t["longest_wait"] is not None]
    return {
        "pending": _number(sum(t["pending"] for t in mine), mine),
        "running": _number(sum(t["running"] for t in mine), mine),
        "oldest": in_words(timedelta(seconds=max(waits))) if waits else "",
        "is_at_least": not all(table["is_all"] for table in mine),
    }


def _worker(viewer: Viewer, worker: str, runs: list[Any]) -> dict[str, Any]:
    now = timezone.now()
    return {
        "worker": worker,
        "count": len(runs),
        "running": [
            (
                viewer.link(run.model, run.database, run.pk),
                in_words(max(now - run.since, timedelta(0))) if run.since else "",
            )
            for run in runs[:_SHOWN]
        ],
        "more": max(0, len(runs) - _SHOWN),
    }


def _silent(told: health.Health) -> dict[str, str]:
    return {alias: one["error"] for alias, one in told["databases"].items() if one["error"]}


def _problems(told: health.Health, scope: QueryScope, *, in_full: bool) -> list[str]:
    """In the reader's language; what a database or Redis said goes to those who can act on it."""
    found = list(problems.find_problems(told))
    found += [
        problems.unreachable_database(alias, error)
        for alias, error in (scope.unreachable or {}).items()
        if alias not in _silent(told)
    ]
    return [problem.translate(in_full=in_full) for problem in found]


def _period(asked: str) -> Period:
    return Period(asked) if asked in set(Period) else Period.DAY


def _number(count: int, tables: list[Any]) -> str:
    return str(count) if all(table["is_all"] for table in tables) else f"{count}+"


def _subscription(one: Mapping[str, Any]) -> dict[str, Any]:
    lag = one["lag"]
    return {**one, "behind": "" if lag is None else in_words(timedelta(seconds=lag))}


def _letters(model: Any) -> list[dict[str, Any]]:
    try:
        found = get_queue().dead_letters(model.get_event_channel(), limit=_SHOWN)
    except QueueUnavailable:
        return []
    return [
        {**values.visible_in(letter), "moment": times.of_timestamp(letter.get("time"))}
        for letter in found
    ]

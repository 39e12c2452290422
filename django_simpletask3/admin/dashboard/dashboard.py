"""The dashboard of queues, workers and statistics, and its operator commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from ...context import task_context
from ...control import Dashboard
from ...exceptions import QueueUnavailable
from ...ledger.fields import MAX_TEXT
from ...ledger.task_row import table_model
from ...models.explanation.durations import format_duration
from ...models.task import SimpleTask
from ...monitoring import health, problems, statistics
from ...monitoring.health_types import Health
from ...monitoring.scope import QueryScope
from ...monitoring.statistics import Period
from ...queue import get_queue
from ..html import times, values
from ..viewer import Viewer
from . import charts, commands, recoveries
from .running import running_by_worker

_PERIODS = {
    Period.HOUR: _("Last hour"),
    Period.DAY: _("Last day"),
    Period.WEEK: _("Last week"),
    Period.MONTH: _("Last month"),
}
_MAX_SHOWN = 10


@admin.register(Dashboard)
class DashboardAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Queues, workers and statistics of the task models that the user may view.

    Users who may change the dashboard can also pause queues and stop workers.
    """

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap, prefix = self.admin_site.admin_view, "django_simpletask3_dashboard_"
        command_view = require_POST(self.command_view)
        return [
            path("", wrap(self.changelist_view), name=f"{prefix}changelist"),
            path("command/", wrap(command_view), name=f"{prefix}command"),
            path("recoveries/", wrap(self.recoveries_view), name=f"{prefix}recoveries"),
            path("recoveries/export/", wrap(self.export_view), name=f"{prefix}export"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the dashboard, with a dozen queries whatever the size of the tables."""
        self._require_view_permission(request)
        period = _parse_period(request.GET.get("period", ""))
        viewer = Viewer(self.admin_site, request)
        visible_models = viewer.models()
        state = health.snapshot()
        snapshot = values.escape_invisible_in(asdict(state))
        scope = viewer.scope(_unreachable(state))
        running = values.escape_invisible_in(running_by_worker(scope))
        may_change = self.has_change_permission(request)
        context = {
            **self._page_context(request, _("Dashboard")),
            "may_change": may_change,
            "queues": list(self._queues(snapshot, viewer, visible_models)),
            "workers": list(self._workers(snapshot, viewer, running)),
            "subscriptions": [_subscription_row(row) for row in snapshot["subscriptions"]],
            "limits": [_waiting_row(row) for row in snapshot["limits"]],
            "dependencies": [
                _waiting_row(row) for row in snapshot["dependencies"] if row["open_groups"]
            ],
            "period": str(period),
            "periods": [(str(value), label) for value, label in _PERIODS.items()],
            "charts": charts.build_charts(statistics.time_buckets(period, scope), period)
            if visible_models
            else [],
            "recovery_counts": recoveries.last_24_hours(scope),
            "problems": _problem_texts(state, scope, in_full=may_change),
            **(extra_context or {}),
        }
        return self._render(request, "dashboard", context)

    def recoveries_view(self, request: HttpRequest) -> Any:
        """List the recovered, dropped, released and rejected runs, the newest first."""
        self._require_view_permission(request)
        context = self._page_context(request, _("Recoveries"))
        context |= recoveries.page_context(self.admin_site, request)
        return self._render(request, "recoveries", context)

    def export_view(self, request: HttpRequest) -> Any:
        """Export all listed recoveries as CSV."""
        self._require_view_permission(request)
        return recoveries.export(self.admin_site, request)

    def command_view(self, request: HttpRequest) -> HttpResponse:
        """Pause or resume a queue, put its dead letters back, or ask a worker to stop."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        reason = values.escape_invisible(request.POST.get("reason", "")).strip()[:MAX_TEXT]
        target = request.POST.get("target", "")
        run_command = commands.COMMANDS.get(request.POST.get("action", ""))
        if run_command is None:
            raise PermissionDenied
        with task_context(actor=request.user, reason=reason):
            message = run_command(Viewer(self.admin_site, request), target)
        if message is not None:
            self._log(request, f"{request.POST['action']} {target}: {reason}")
            self.message_user(request, message, messages.SUCCESS)
        name = f"{self.admin_site.name}:django_simpletask3_dashboard_changelist"
        return HttpResponseRedirect(reverse(name))

    def _require_view_permission(self, request: HttpRequest) -> None:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied

    def _page_context(self, request: HttpRequest, title: Any) -> dict[str, Any]:
        each = self.admin_site.each_context(request)
        return {**each, "title": title, "opts": self.opts, "media": self.media}

    def _render(
        self, request: HttpRequest, template: str, context: Mapping[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        name = f"admin/django_simpletask3/{template}.html"
        return TemplateResponse(request, name, dict(context))

    def _log(self, request: Any, text: str) -> None:
        LogEntry.objects.create(
            user=request.user,
            content_type=ContentType.objects.get_for_model(Dashboard, for_concrete_model=False),
            object_repr=text[:200],
            action_flag=CHANGE,
            change_message=text,
        )

    def _queues(
        self, snapshot: Mapping[str, Any], viewer: Viewer, visible_models: list[Any]
    ) -> Any:
        tables: dict[str, list[Any]] = {}
        for table in snapshot["tables"]:
            tables.setdefault(table["model"], []).append(table)
        by_label = {model._meta.label: model for model in visible_models}
        for queue in snapshot["models"]:
            model = by_label.get(queue["model"])
            if model is not None:
                yield {
                    **queue,
                    "name": viewer.list_link(model, queue["model"]),
                    "shown_dead_letters": _dead_letters(viewer, model)
                    if queue["dead_letters"]
                    else [],
                    **_row_counts(model, tables),
                }

    def _workers(
        self, snapshot: Mapping[str, Any], viewer: Viewer, runs_by_worker: dict[str, Any]
    ) -> Any:
        for report in snapshot["workers"]:
            runs = runs_by_worker.pop(report["worker"], [])
            yield _worker(viewer, report["worker"], runs) | {
                "last_report": format_duration(timedelta(seconds=report["seconds_since_report"])),
                "threads": sum(m["threads"] for m in report["models"].values()),
                "stop_requested": report["stop_requested"],
                "is_reporting": True,
            }
        for worker, runs in sorted(runs_by_worker.items()):
            yield _worker(viewer, worker, runs) | {"is_reporting": False}


def _row_counts(model: type[SimpleTask], tables: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The counts of the table of ``model``; proxies and children are counted with their root."""
    root = table_model(model)
    if root is not model:
        return {"root": root._meta.label}
    own_tables = tables.get(model._meta.label, [])
    waits = [t["longest_wait"] for t in own_tables if t["longest_wait"] is not None]
    return {
        "pending": _format_count(sum(t["pending"] for t in own_tables), own_tables),
        "running": _format_count(sum(t["running"] for t in own_tables), own_tables),
        "blocked": _format_blocked([t["blocked"] for t in own_tables]),
        "oldest": format_duration(timedelta(seconds=max(waits))) if waits else "",
        "is_at_least": not all(table["is_complete"] for table in own_tables),
    }


def _worker(viewer: Viewer, worker: str, runs: list[Any]) -> dict[str, Any]:
    now = timezone.now()
    return {
        "worker": worker,
        "count": len(runs),
        "running": [
            (
                viewer.link(run.model, run.database, run.pk),
                format_duration(max(now - run.since, timedelta(0))) if run.since else "",
            )
            for run in runs[:_MAX_SHOWN]
        ],
        "more": max(0, len(runs) - _MAX_SHOWN),
    }


def _unreachable(state: Health) -> dict[str, str]:
    return {alias: database.error for alias, database in state.databases.items() if database.error}


def _problem_texts(state: Health, scope: QueryScope, *, in_full: bool) -> list[str]:
    """Translated problems; with errors of databases and Redis if ``in_full``."""
    found_problems = list(problems.find_problems(state))
    found_problems += [
        problems.unreachable_database(alias, error)
        for alias, error in (scope.unreachable or {}).items()
        if alias not in _unreachable(state)
    ]
    return [values.escape_invisible(p.translate(in_full=in_full)) for p in found_problems]


def _parse_period(value: str) -> Period:
    return Period(value) if value in set(Period) else Period.DAY


def _format_count(count: int, tables: list[Any]) -> str:
    return str(count) if all(table["is_complete"] for table in tables) else f"{count}+"


def _format_blocked(counts: list[int]) -> str:
    return f"{sum(counts)}{'+' if any(count >= health.MAX_ROWS for count in counts) else ''}"


def _subscription_row(subscription: Mapping[str, Any]) -> dict[str, Any]:
    return {**subscription, "behind": _duration(subscription["lag"])}


def _waiting_row(health: Mapping[str, Any]) -> dict[str, Any]:
    return {**health, "wait": _duration(health["longest_wait"])}


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(timedelta(seconds=seconds))


def _dead_letters(viewer: Viewer, model: type[SimpleTask]) -> list[dict[str, Any]]:
    """The newest dead letters, for users who may view every row: most of them name no task."""
    if not viewer.may_view_every_row(model):
        return []
    try:
        letters = get_queue().dead_letters(model.get_event_channel(), limit=_MAX_SHOWN)
    except QueueUnavailable:
        return []
    return [
        {**values.escape_invisible_in(letter), "time": times.format_timestamp(letter.get("time"))}
        for letter in letters
    ]

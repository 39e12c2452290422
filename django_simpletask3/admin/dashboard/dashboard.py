"""The dashboard: whether it is well, what is stuck, since when, and what to do.

What its pages show is imported when they are asked for: workers load the admin, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from ...context import task_context
from ...control import Dashboard
from ...ledger.fields import MAX_TEXT
from ...models.task import SimpleTask
from ..html import values
from ..viewer import Viewer


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
            path("live/", wrap(self.live_view), name=f"{prefix}live"),
            path("command/", wrap(command_view), name=f"{prefix}command"),
            path("recoveries/", wrap(self.recoveries_view), name=f"{prefix}recoveries"),
            path("recoveries/export/", wrap(self.export_view), name=f"{prefix}export"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the dashboard, with a dozen queries and a few whatever the size of the tables."""
        self._require_view_permission(request)
        context = self._page_context(request, _("Dashboard")) | self._content(request)
        return self._render(request, "dashboard", {**context, **(extra_context or {})})

    def live_view(self, request: HttpRequest) -> Any:
        """The content of the dashboard alone, which its script asks for every five seconds.

        The charts are left out if the page has those of this half minute.
        """
        self._require_view_permission(request)
        content = self._content(request, page_charts=request.GET.get("charts", ""))
        return self._render(request, "dashboard_content", content)

    def _content(self, request: HttpRequest, *, page_charts: str = "") -> dict[str, Any]:
        from ...monitoring.statistics import Period
        from .content import read_content

        name = request.GET.get("period", "")
        period = Period(name) if name in set(Period) else Period.HOUR
        viewer, may_change = Viewer(self.admin_site, request), self.has_change_permission(request)
        return read_content(viewer, period, may_change=may_change, page_charts=page_charts)

    def recoveries_view(self, request: HttpRequest) -> Any:
        """List the recovered, dropped, released and rejected runs, the newest first."""
        from ..recoveries import page as recoveries

        self._require_view_permission(request)
        context = self._page_context(request, _("Recoveries"))
        context |= recoveries.page_context(self.admin_site, request)
        return self._render(request, "recoveries", context)

    def export_view(self, request: HttpRequest) -> Any:
        """Export all listed recoveries as CSV."""
        from ..recoveries import page as recoveries

        self._require_view_permission(request)
        return recoveries.export(self.admin_site, request)

    def command_view(self, request: HttpRequest) -> HttpResponse:
        """Pause or resume a queue, put its dead letters back, or ask a worker to stop."""
        from . import commands

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

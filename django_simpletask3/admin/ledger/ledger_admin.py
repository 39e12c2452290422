"""The page of the ledger: whether the record of all tasks is whole, and by which audit.

What it shows is imported when it is asked for: workers load the admin, too.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from ...control import Dashboard
from ...models.audit_run import Ledger


@admin.register(Ledger)
class LedgerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The ledger of the task models that the user may view; for those who see the dashboard."""

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may view the dashboard."""
        if self.admin_site.is_registered(Dashboard):
            dashboard = self.admin_site.get_model_admin(Dashboard)
            return bool(dashboard.has_view_or_change_permission(request))
        return request.user.has_perm("django_simpletask3.view_dashboard")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        wrap, prefix = self.admin_site.admin_view, "django_simpletask3_ledger_"
        return [
            path("", wrap(self.changelist_view), name=f"{prefix}changelist"),
            path("result/", wrap(self.result_view), name=f"{prefix}result"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the ledger, with a few statements whatever the size of the tables."""
        from .page import page_context

        self._require_permission(request)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Ledger"),
            "opts": self.opts,
            "media": self.media,
            **page_context(self.admin_site, request),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        template = "admin/django_simpletask3/ledger.html"
        return TemplateResponse(request, template, context)

    def result_view(self, request: HttpRequest) -> JsonResponse:
        """Download the result of the newest audit that has ended."""
        from .result import audit_result

        self._require_permission(request)
        result = audit_result(self.admin_site, request)
        name = f"audit-{result['begin_time'][:10] or 'none'}.json"
        return JsonResponse(
            result, headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

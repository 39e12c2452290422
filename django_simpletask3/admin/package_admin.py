"""Admin pages of the package's own models: deliveries to subscribers, and tombstones."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..ledger.outbox import Delivery
from ..ledger.tombstone import Tombstone
from ..models.registry import table_models
from ..subscriptions import retry
from .viewer import Viewer


class _ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        return [field.name for field in self.model._meta.fields]


class DeadFilter(admin.SimpleListFilter):
    """Filter dead deliveries, which failed too often to be retried, or the others."""

    title = _("dead")
    parameter_name = "dead"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("1", _("Yes")), ("0", _("No"))]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        if self.value() not in ("0", "1"):
            return queryset
        return queryset.filter(due_time__isnull=self.value() == "1")


@admin.register(Delivery)
class DeliveryAdmin(_ReadOnlyAdmin):
    """Deliveries that durable subscribers have not handled yet; they can be retried or deleted."""

    list_display = (
        "subscription",
        "model",
        "task_key",
        "sequence",
        "kind",
        "attempts",
        "due_time",
        "dead",
        "error",
    )
    list_filter = (DeadFilter, "subscription")
    search_fields = ("=task_key",)
    actions = ("retry_selected",)
    ordering = ("pk",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """The deliveries of tasks whose models the user may view."""
        viewer = Viewer(self.admin_site, request)
        hidden = [root._meta.label for root in table_models() if not viewer.may_view(root)]
        return super().get_queryset(request).exclude(model__in=hidden)

    @admin.display(description=_("dead"), boolean=True)
    def dead(self, delivery: Delivery) -> bool:
        """Whether the delivery failed too often to be retried."""
        return delivery.is_dead

    @admin.display(description=_("last error"))
    def error(self, delivery: Delivery) -> str:
        """The last line of the last error."""
        last = delivery.last_error.strip().rpartition("\n")[2]
        return format_html('<span title="{}">{}</span>', last, last[:80])

    @admin.action(permissions=["change"], description=_("Retry selected deliveries now"))
    def retry_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Make the selected deliveries due at once."""
        count = retry(queryset)
        text = ngettext("%d delivery is due now.", "%d deliveries are due now.", count)
        self.message_user(request, text % count, messages.SUCCESS)


@admin.register(Tombstone)
class TombstoneAdmin(_ReadOnlyAdmin):
    """Records of deliberate deletions, with time, reason and actor."""

    list_display = ("time", "model", "scope", "tasks", "events", "reason", "actor", "digest")
    list_filter = ("scope", "model")
    date_hierarchy = "time"
    ordering = ("-time",)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

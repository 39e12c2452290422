"""Admin pages of the package's own models: deliveries to subscribers, and tombstones."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..ledger.outbox import Delivery
from ..ledger.tombstone import Tombstone
from ..models.registry import table_models
from ..subscriptions import retry
from .deliveries import DeliveryChangeList, next_try, status_pill, task_cell
from .html.values import escape_invisible
from .package_list import TEMPLATE
from .viewer import Viewer

#: Characters of an error in a row.
_MAX_ERROR = 200


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

    change_list_template = TEMPLATE
    list_display = (
        "subscription",
        "status_view",
        "task_view",
        "event_view",
        "error",
        "attempts",
        "next_try",
    )
    actions_on_bottom = False
    list_filter = (DeadFilter, "subscription")
    search_fields = ("=task_key",)
    actions = ("retry_selected",)
    ordering = ("pk",)
    show_full_result_count = False

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """A list of one line for each delivery."""
        return DeliveryChangeList

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """As Django's; the rows know who views them."""
        changelist = super().get_changelist_instance(request)
        viewer = Viewer(self.admin_site, request)
        rows: list[Any] = list(changelist.result_list)
        for row in rows:
            row.viewer = viewer
        changelist.result_list = rows
        return changelist

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """The deliveries of tasks whose models the user may view."""
        viewer = Viewer(self.admin_site, request)
        hidden = [root._meta.label for root in table_models() if not viewer.may_view(root)]
        return super().get_queryset(request).exclude(model__in=hidden)

    @admin.display(description=_("status"), ordering="due_time")
    def status_view(self, delivery: Delivery) -> SafeString:
        """Whether it waits, is tried again later, or failed too often to be retried."""
        return status_pill(delivery)

    @admin.display(description=_("task"), ordering="task_key")
    def task_view(self, delivery: Any) -> SafeString:
        """The task, as a link."""
        return task_cell(delivery, delivery.viewer)

    @admin.display(description=_("event"), ordering="kind")
    def event_view(self, delivery: Any) -> SafeString:
        """What happened to the task."""
        text = escape_invisible(str(delivery.get_kind_display()))
        return format_html('<span title="{} #{}">{}</span>', text, delivery.sequence, text)

    @admin.display(description=_("next try"), ordering="due_time", empty_value="")
    def next_try(self, delivery: Delivery) -> SafeString | str:
        """When it is tried next."""
        return next_try(delivery)

    @admin.display(description=_("last error"), empty_value="")
    def error(self, delivery: Delivery) -> SafeString | str:
        """The last line of the last error."""
        last = escape_invisible(delivery.last_error.strip().rpartition("\n")[2])
        return format_html('<span title="{}">{}</span>', last, last[:_MAX_ERROR]) if last else ""

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

"""The timeline of a task: its events, read-only, on the task's page."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.db.models import TextField
from django.db.models.functions import Substr
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ...db import clock
from ...ledger.encoding import decode
from ...ledger.event import TaskEvent, event_model_of
from ...models.explanation.durations import format_duration
from ...models.task import SimpleTask
from ...states import UNFINISHED, Status
from ..html import badges, times, values
from . import data_prefix
from .gantt import Picture, layout
from .progress import Progress, latest_progress

#: The query parameter that selects the events before a sequence number.
PAGE_PARAMETER = "events_before"
_MAX_DIGITS = 10


class TimelineFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """A page of a task's events, oldest first; posted data is ignored."""

    page_size = 200
    #: The page ends before the event with this number; None is the newest page.
    before: int | None = None
    #: The address that the page polls; empty if there is none.
    live_url = ""

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        super().__init__(None, None, **kwargs)
        self.new_objects, self.changed_objects, self.deleted_objects = [], [], []

    def is_valid(self) -> bool:
        return True

    def has_changed(self) -> bool:
        return False

    def save(self, commit: bool = True) -> list[TaskEvent]:
        return []

    def get_queryset(self) -> Any:
        if not hasattr(self, "_events"):
            self._events = self._read_events()
        return self._events

    @property
    def older_count(self) -> int:
        """The number of events before this page."""
        events = self.get_queryset()
        return int(events[0].sequence) - 1 if events else 0

    @property
    def older_query(self) -> str:
        """The query string of the page before this one."""
        return (
            urlencode({PAGE_PARAMETER: self.get_queryset()[0].sequence}) if self.older_count else ""
        )

    @property
    def last_sequence(self) -> int:
        """The sequence number of the last event on this page."""
        events = self.get_queryset()
        return int(events[-1].sequence) if events else 0

    @property
    def is_live(self) -> bool:
        """Whether the page polls for new events."""
        return bool(self.live_url) and self.before is None and self.instance.status in UNFINISHED

    @property
    def picture(self) -> Picture | None:
        """The page as lanes; those of an unfinished task extend to now."""
        now = clock.now(self.instance._state.db) if self.before is None else None
        return layout(self.get_queryset(), now)

    @property
    def progress(self) -> Progress | None:
        """The progress of the running attempt, if its task function noted any."""
        if self.instance.status != Status.RUNNING or self.before is not None:
            return None
        return latest_progress(self.get_queryset(), self.instance.attempt)

    def _read_events(self) -> list[TaskEvent]:
        all_rows: Any = self.queryset
        rows = all_rows.using(self.instance._state.db).defer("data")
        rows = rows.annotate(
            head=Substr("data", 1, data_prefix.LIMIT + 1, output_field=TextField())
        )
        if self.before is not None:
            rows = rows.filter(sequence__lt=self.before)
        events = list(rows.order_by("-sequence")[: self.page_size + 1])[::-1]
        for before, event in pairwise(events):
            event.since = event.event_time - before.event_time
        return events[-self.page_size :]


class TaskEventInline(admin.TabularInline):  # type: ignore[type-arg]
    """The events of a task as a picture and a table; they cannot be added, changed or deleted.

    Add it to the ``inlines`` of any ModelAdmin of a task model; it finds the event model itself.
    SimpleTaskAdmin includes it, and updates it while the task runs.
    """

    model = TaskEvent
    fk_name = "task"
    formset = TimelineFormSet
    template = "admin/django_simpletask3/timeline.html"
    verbose_name_plural = _("Timeline")
    extra = 0
    max_num = 0
    can_delete = False
    fields = (
        "number",
        "kind_label",
        "transition",
        "nth_attempt",
        "at",
        "offset",
        "by_worker",
        "by_actor",
        "reason_text",
        "details",
    )
    readonly_fields = fields

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}
        js = ("django_simpletask3/live.js",)

    def __init__(self, parent_model: type[Any], admin_site: AdminSite) -> None:
        self.model = event_model_of(parent_model)
        super().__init__(parent_model, admin_site)

    def get_formset(
        self, request: HttpRequest, obj: SimpleTask | None = None, **kwargs: Any
    ) -> Any:
        """Like Django's, for the page of events that ``request`` selects."""
        value = request.GET.get(PAGE_PARAMETER, "")
        before = int(value) if value.isdecimal() and len(value) < _MAX_DIGITS else None
        live_url = "" if obj is None else self._live_url(obj)
        formset = super().get_formset(request, obj, **kwargs)
        return type(formset.__name__, (formset,), {"before": before, "live_url": live_url})

    def _live_url(self, task: SimpleTask) -> str:
        meta = self.parent_model._meta
        name = f"{self.admin_site.name}:{meta.app_label}_{meta.model_name}_timeline"
        try:
            return reverse(name, args=[quote(task.pk)])
        except NoReverseMatch:
            return ""

    def has_view_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        """True: users who may view the task may view its events."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return False

    @admin.display(description=_("No."))
    def number(self, event: TaskEvent) -> int:
        return event.sequence

    @admin.display(description=_("event"))
    def kind_label(self, event: TaskEvent) -> SafeString:
        return badges.kind(event.kind)

    @admin.display(description=_("from → to"))
    def transition(self, event: TaskEvent) -> SafeString:
        return badges.transition(event.from_status, event.to_status)

    @admin.display(description=_("attempt"))
    def nth_attempt(self, event: TaskEvent) -> int | str:
        return event.attempt or ""

    @admin.display(description=_("time"))
    def at(self, event: TaskEvent) -> SafeString:
        return times.format_instant(event.event_time)

    @admin.display(description=_("since the last"))
    def offset(self, event: TaskEvent) -> str:
        since: timedelta | None = getattr(event, "since", None)
        if since is None:
            return ""
        return f"{'' if since < timedelta(0) else '+'}{format_duration(since)}"

    @admin.display(description=_("worker"))
    def by_worker(self, event: TaskEvent) -> SafeString | str:
        return badges.worker(event.worker)

    @admin.display(description=_("actor"))
    def by_actor(self, event: TaskEvent) -> str:
        return values.escape_invisible(event.actor)

    @admin.display(description=_("reason"))
    def reason_text(self, event: TaskEvent) -> str:
        return values.escape_invisible(event.reason)

    @admin.display(description=_("data"))
    def details(self, event: TaskEvent) -> SafeString | str:
        head: str | None = getattr(event, "head", None)
        if head is None:
            return ""
        if len(head) > data_prefix.LIMIT:
            return values.cell(f"{head[: data_prefix.LIMIT]}…")
        return values.cell(values.format_json(decode(head)))

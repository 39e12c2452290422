"""The timeline: the stream of a task, read-only, on the task's page."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import TextField
from django.db.models.functions import Substr
from django.forms.models import BaseInlineFormSet
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_simpletask3.encoding import decode
from django_simpletask3.events import TaskEvent

from . import badges, durations, moments, values

if TYPE_CHECKING:
    _TabularInline = admin.TabularInline[Any, Any]
    _InlineFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    _TabularInline = admin.TabularInline
    _InlineFormSet = BaseInlineFormSet

#: How much of an event's data is read: a reset keeps the result that it erased.
DATA_LIMIT = 2000


class TimelineFormSet(_InlineFormSet):
    """The newest events of a task, oldest first; whatever is posted to it is not even read."""

    newest = 200

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        super().__init__(None, None, **kwargs)
        self.new_objects, self.changed_objects, self.deleted_objects = [], [], []

    def is_valid(self) -> bool:
        return True

    def has_changed(self) -> bool:
        return False

    def save(self, commit: bool = True) -> list[Any]:
        return []

    def get_queryset(self) -> Any:
        if not hasattr(self, "_newest"):
            self._newest = self._read()
        return self._newest

    @property
    def older(self) -> int:
        """How many events there are before those that are shown."""
        events = self.get_queryset()
        return int(events[0].sequence) - 1 if events else 0

    def _read(self) -> list[Any]:
        all_rows: Any = self.queryset
        rows = all_rows.using(self.instance._state.db).defer("data")
        rows = rows.annotate(head=Substr("data", 1, DATA_LIMIT + 1, output_field=TextField()))
        events = list(rows.order_by("-sequence")[: self.newest + 1])[::-1]
        for before, event in pairwise(events):
            event.since = event.event_time - before.event_time
        return events[-self.newest :]


class TimelineInline(_TabularInline):
    """The events of a task; nobody adds, changes or deletes one."""

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
        "happened",
        "moved",
        "nth_attempt",
        "at",
        "offset",
        "by_worker",
        "by_actor",
        "why",
        "details",
    )
    readonly_fields = fields

    def has_view_permission(self, request: Any, obj: Any = None) -> bool:
        """Who sees the task sees what happened to it."""
        return True

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("No."))
    def number(self, event: TaskEvent) -> int:
        return event.sequence

    @admin.display(description=_("event"))
    def happened(self, event: TaskEvent) -> SafeString:
        return badges.kind(event.kind)

    @admin.display(description=_("from → to"))
    def moved(self, event: TaskEvent) -> SafeString:
        return badges.move(event.from_status, event.to_status)

    @admin.display(description=_("attempt"))
    def nth_attempt(self, event: TaskEvent) -> int | str:
        return event.attempt or ""

    @admin.display(description=_("time"))
    def at(self, event: TaskEvent) -> SafeString:
        return moments.exactly(event.event_time)

    @admin.display(description=_("since the last"))
    def offset(self, event: TaskEvent) -> str:
        since: timedelta | None = getattr(event, "since", None)
        if since is None:
            return ""
        return f"{'' if since < timedelta(0) else '+'}{durations.in_words(since)}"

    @admin.display(description=_("worker"))
    def by_worker(self, event: TaskEvent) -> SafeString | str:
        return badges.worker(event.worker)

    @admin.display(description=_("actor"))
    def by_actor(self, event: TaskEvent) -> str:
        return values.visible(event.actor)

    @admin.display(description=_("reason"))
    def why(self, event: TaskEvent) -> str:
        return values.visible(event.reason)

    @admin.display(description=_("data"))
    def details(self, event: TaskEvent) -> SafeString | str:
        head: str | None = getattr(event, "head", None)
        if head is None:
            return ""
        if len(head) > DATA_LIMIT:
            return values.cell(f"{head[:DATA_LIMIT]}…")
        return values.cell(values.in_json(decode(head)))


@cache
def inline_for(event_model: type[TaskEvent], inline: type[TimelineInline]) -> type[TimelineInline]:
    """``inline`` for the events of one task model."""
    return type(inline.__name__, (inline,), {"model": event_model, "__module__": inline.__module__})

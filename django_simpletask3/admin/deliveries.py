"""The columns of the list of deliveries: one line for each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.apps import apps
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..db import clock
from ..ledger.outbox import Delivery
from ..models.task import SimpleTask
from .html.times import format_moment, rounded_duration
from .html.values import escape_invisible
from .package_list import BOX, PackageChangeList, pill
from .task_list.empty import EmptyList
from .task_list.rows import Column
from .viewer import Viewer


class DeliveryChangeList(PackageChangeList):
    """The list of deliveries."""

    look: ClassVar[Mapping[str, Column]] = {
        "action_checkbox": BOX,
        "subscription": Column("st3-c-queue", "st3-whole"),
        "status_view": Column("st3-c-pill"),
        "task_view": Column("st3-c-name"),
        "event_view": Column("st3-c-event"),
        "error": Column("", "st3-full"),
        "attempts": Column("st3-c-wait", "st3-num", gettext_lazy("attempts")),
        "next_try": Column("st3-c-due", "", gettext_lazy("next try")),
    }

    def explain_empty(self) -> EmptyList:
        """That all is well."""
        note = _("Each subscriber has handled its events. An event that fails waits here.")
        return EmptyList(_("No delivery waits"), note)


def status_pill(delivery: Delivery) -> SafeString:
    """Whether it waits, is tried again later, or is given up."""
    due = delivery.due_time
    if due is None:
        return pill("failed", _("given up"), _("It is tried again if you retry it."))
    if due > _now(delivery):
        return pill("scheduled", _("scheduled"), next_words(due, _now(delivery)))
    return pill("waiting", _("waiting"), next_words(due, _now(delivery)))


def task_cell(delivery: Delivery, viewer: Viewer) -> SafeString:
    """Model and key of the task; a link if the user may view its page."""
    label = escape_invisible(f"{delivery.model} {delivery.task_key}")
    try:
        model: Any = apps.get_model(delivery.model)
    except (LookupError, ValueError):
        return format_html('<span title="{0}">{0}</span>', label)
    is_task = issubclass(model, SimpleTask)
    link = viewer.link(model, _database(delivery), delivery.task_key, label) if is_task else label
    return format_html('<span title="{}">{}</span>', label, link)


def next_try(delivery: Delivery) -> SafeString | str:
    """When it is tried next, or since when it waits; nothing if it is given up."""
    due = delivery.due_time
    if due is None:
        return ""
    words = next_words(due, _now(delivery))
    return format_html('<time datetime="{}" title="{}">{}</time>', due.isoformat(), words, words)


def next_words(due: datetime, now: datetime) -> str:
    """The time that a delivery is due and how soon; or since when."""
    time = format_moment(due, now, seconds=False)
    if due > now:
        ahead = rounded_duration(due - now)
        return _("%(time)s, in %(duration)s") % {"time": time, "duration": ahead}
    return _("since %(time)s") % {"time": time}


def _now(delivery: Delivery) -> datetime:
    return clock.now(_database(delivery))


def _database(delivery: Delivery) -> str:
    return delivery._state.db or "default"

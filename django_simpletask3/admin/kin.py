"""Where a task comes from and leads to: its parent, its children, its queue, its worker."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin.utils import quote
from django.db.models import CharField
from django.db.models.functions import Cast
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from django_simpletask3.catalog import tables
from django_simpletask3.events import name_of
from django_simpletask3.querysets import rows_of
from django_simpletask3.slices import first_of

from . import badges
from .values import visible

#: Children that are shown, of each table.
MOST = 20


def parent(site: Any, task: Any) -> SafeString | str:
    """A link to the task whose body enqueued ``task``; empty if none did."""
    name = task.parent or ""
    place, _, key = name.partition(":")
    try:
        model: Any = apps.get_model(place.partition("@")[0])
    except (LookupError, ValueError):
        return visible(name)
    return _link(site, model, key, name) if key else visible(name)


def children(site: Any, task: Any) -> SafeString | str:
    """Links to the tasks that the body of ``task`` enqueued, the first of each table.

    One statement per database, by the index of ``parent``.
    """
    name = name_of(task)
    key = Cast("pk", CharField(max_length=255))
    links: list[tuple[SafeString | str, SafeString | str]] = []
    for using, together in tables().items():
        queries = {
            root: rows_of(root, using).filter(parent=name).order_by("pk").values_list(key, "status")
            for root in together
        }
        for root, found in first_of(using, queries, MOST + 1).items():
            for text, status in found[:MOST]:
                pk = str(root._meta.pk.to_python(text))
                label = f"{root._meta.label}:{pk}"
                links.append((_link(site, root, pk, label), badges.status(status)))
            if len(found) > MOST:
                links.append(("…", ""))
    if not links:
        return ""
    return format_html('<ul class="st3-kin">{}</ul>', format_html_join("", "<li>{} {}</li>", links))


def queue(site: Any, task: Any) -> SafeString | str:
    """A link to the row of the task's queue on the dashboard."""
    label = type(task)._meta.label
    return _on_dashboard(site, f"queue-{label}", task.get_event_channel())


def worker(site: Any, task: Any) -> SafeString | str:
    """A link to the row of the task's worker on the dashboard; empty if it has none."""
    return _on_dashboard(site, f"worker-{task.worker}", task.worker) if task.worker else ""


def _on_dashboard(site: Any, anchor: str, words: str) -> SafeString | str:
    try:
        page = reverse(f"{site.name}:django_simpletask3_dashboard_changelist")
    except NoReverseMatch:
        return visible(words)
    return format_html('<a href="{}#{}">{}</a>', page, anchor, visible(words))


def _link(site: Any, model: Any, key: str, words: str) -> SafeString | str:
    meta = model._meta
    try:
        page = reverse(f"{site.name}:{meta.app_label}_{meta.model_name}_change", args=[quote(key)])
    except NoReverseMatch:
        return visible(words)
    return format_html('<a href="{}">{}</a>', page, visible(words))

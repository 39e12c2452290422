"""Where a task comes from and leads to: its parent, its children, its queue, its worker."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import apps
from django.db import router
from django.db.models import CharField
from django.db.models.functions import Cast
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ..db.limited_queries import first_rows
from ..ledger.task_row import table_model, task_reference, write_database
from ..models.loading import saved_models
from ..models.queryset import rows_of
from ..models.task import Dashboard, SimpleTask
from ..monitoring import problems
from ..monitoring.scope import QueryScope
from .html import badges
from .html.values import visible
from .viewer import Viewer, viewer_of

#: Children that are shown, of each table.
MOST = 20

_Line = tuple[SafeString | str, SafeString | str]


def parent(task: Any) -> SafeString | str:
    """A link to the task whose body enqueued ``task``; empty if none did."""
    name = task.parent or ""
    place, _, key = name.partition(":")
    label, _, alias = place.partition("@")
    try:
        model: Any = apps.get_model(label)
    except (LookupError, ValueError):
        return visible(name)
    viewer = viewer_of(task)
    if viewer is None or not key or not issubclass(model, SimpleTask):
        return visible(name)
    return viewer.link(model, alias or router.db_for_write(model), key, name)


def children(task: Any) -> SafeString | str:
    """Links to the tasks that the body of ``task`` enqueued, the first of each table.

    Those that the user may view. One statement per database, by the index of ``parent``; one that
    does not answer is named.
    """
    viewer = viewer_of(task)
    if viewer is None:
        return ""
    silent: dict[str, str] = {}
    scope = viewer.scope(silent)
    found = scope.query_databases(partial(_children, scope, viewer, task_reference(task)))
    lines = [line for together in found for line in together]
    for alias, error in silent.items():
        lines.append((problems.unreachable_database(alias, error).translate(in_full=False), ""))
    if not lines:
        return ""
    return format_html('<ul class="st3-kin">{}</ul>', format_html_join("", "<li>{} {}</li>", lines))


def queue(site: Any, task: Any) -> SafeString | str:
    """A link to the row of the task's queue on the dashboard: of the model it was saved as."""
    root, using = table_model(type(task)), write_database(task)
    model = saved_models(root, using, [task.pk])[task.pk]
    return _on_dashboard(site, task, f"queue-{model._meta.label}", model.get_event_channel())


def worker(site: Any, task: Any) -> SafeString | str:
    """A link to the row of the task's worker on the dashboard; empty if it has none."""
    return _on_dashboard(site, task, f"worker-{task.worker}", task.worker) if task.worker else ""


def _children(
    scope: QueryScope, viewer: Viewer, name: str, using: str, together: list[type[SimpleTask]]
) -> list[_Line]:
    key = Cast("pk", CharField(max_length=255))
    queries = {
        root: scope.restrict(rows_of(root, using), root, using)
        .filter(parent=name)
        .order_by("pk")
        .values_list(key, "status")
        for root in together
    }
    lines: list[_Line] = []
    for root, found in first_rows(using, queries, MOST + 1).items():
        for text, status in found[:MOST]:
            pk = str(_key(root).to_python(text))
            lines.append((viewer.link(root, using, pk), badges.status(status)))
        if len(found) > MOST:
            lines.append(("…", ""))
    return lines


def _key(root: type[SimpleTask]) -> Any:
    return root._meta.pk


def _on_dashboard(site: Any, task: Any, anchor: str, words: str) -> SafeString | str:
    viewer = viewer_of(task)
    if viewer is not None and not viewer.may_view(Dashboard):
        return visible(words)
    try:
        page = reverse(f"{site.name}:django_simpletask3_dashboard_changelist")
    except NoReverseMatch:
        return visible(words)
    return format_html('<a href="{}#{}">{}</a>', page, anchor, visible(words))

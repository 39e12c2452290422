"""Links from a task to its parent, its children, its queue and its worker."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, cast

from django.apps import apps
from django.contrib.admin import AdminSite
from django.db import models, router
from django.urls import NoReverseMatch, reverse
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..control import Dashboard
from ..db.limited_queries import first_rows, key_as_text, parse_key
from ..db.loading import saved_models
from ..dependencies.loading import load_by_key
from ..dependencies.overview import read_dependents, read_waits_for
from ..ledger.task_row import table_model, task_reference, write_database
from ..models.task import SimpleTask
from ..monitoring import problems
from ..monitoring.scope import QueryScope
from .html import badges
from .html.values import escape_invisible
from .viewer import Viewer, viewer_of

#: Children that are shown, of each table.
MAX_CHILDREN = 20

_Line = tuple[SafeString | str, SafeString | str]


def parent(task: SimpleTask) -> SafeString | str:
    """A link to the task whose function enqueued ``task``; empty if none did."""
    name = task.parent or ""
    model_and_database, _separator, key = name.partition(":")
    label, _separator, alias = model_and_database.partition("@")
    try:
        model: type[models.Model] = apps.get_model(label)
    except (LookupError, ValueError):
        return escape_invisible(name)
    viewer = viewer_of(task)
    if viewer is None or not key or not issubclass(model, SimpleTask):
        return escape_invisible(name)
    return viewer.link(model, alias or router.db_for_write(model), key, name)


def children(task: SimpleTask) -> SafeString | str:
    """Links to the tasks that ``task`` enqueued and the user may view, the first of each table.

    One statement per database, by the index of ``parent``. A database that does not answer is
    listed with its error.
    """
    viewer = viewer_of(task)
    if viewer is None:
        return ""
    unreachable: dict[str, str] = {}
    scope = viewer.scope(unreachable)
    line_groups = scope.query_databases(partial(_child_lines, scope, viewer, task_reference(task)))
    lines = [line for group in line_groups for line in group]
    for alias, error in unreachable.items():
        lines.append((problems.unreachable_database(alias, error).translate(in_full=False), ""))
    if not lines:
        return ""
    return format_html(
        '<ul class="st3-related">{}</ul>', format_html_join("", "<li>{} {}</li>", lines)
    )


def waits_for(task: SimpleTask) -> SafeString | str:
    """How many tasks ``task`` waits, or has waited, for, and links to the first; else empty."""
    viewer, found = viewer_of(task), read_waits_for(task)
    if viewer is None or found is None:
        return ""
    text = _("%(missing)s of %(total)s tasks")
    if found.failed:
        text = _("%(missing)s of %(total)s tasks; %(failed)s failed")
    counts = {name: number_format(getattr(found, name)) for name in ("missing", "total", "failed")}
    keys = found.first_keys(MAX_CHILDREN)
    return _linked_list(viewer, found.using, keys, text % counts, found.total > len(keys))


def dependents(task: SimpleTask) -> SafeString | str:
    """How many tasks wait, or have waited, for ``task``, and links to the first; else empty."""
    viewer, found = viewer_of(task), read_dependents(task, MAX_CHILDREN)
    if viewer is None or not found.total:
        return ""
    text = ngettext("%(count)s task", "%(count)s tasks", found.total)
    text %= {"count": number_format(found.total)}
    has_more = found.total > len(found.first_keys)
    return _linked_list(viewer, write_database(task), found.first_keys, text, has_more)


def _linked_list(
    viewer: Viewer, using: str, keys: Iterable[tuple[str, str]], text: str, has_more: bool
) -> SafeString:
    """``text``, and links to those of the tasks with these keys that the user may view."""
    by_model: dict[type[SimpleTask], dict[str, Any]] = {}
    for (label, key), row in load_by_key(keys, using).items():
        root = cast("type[SimpleTask]", apps.get_model(label))
        by_model.setdefault(root, {})[key] = row
    lines: list[_Line] = []
    scope = viewer.scope({})
    for root, rows in by_model.items():
        visible_keys = scope.visible_keys(root, using, rows) if viewer.may_view(root) else ()
        lines += [
            (viewer.link(root, using, key), badges.status(row.status))
            for key, row in rows.items()
            if key in visible_keys
        ]
    if has_more:
        lines.append(("…", ""))
    listed = format_html_join("", "<li>{} {}</li>", lines)
    return format_html('{}<ul class="st3-related">{}</ul>', text, listed)


def queue(site: AdminSite, task: SimpleTask) -> SafeString | str:
    """A link to the task's queue on the dashboard, by the model that the task was saved as."""
    root, using = table_model(type(task)), write_database(task)
    model = saved_models(root, using, [task.pk])[task.pk]
    return _dashboard_link(site, task, f"queue-{model._meta.label}", model.get_event_channel())


def worker(site: AdminSite, task: SimpleTask) -> SafeString | str:
    """A link to the task's worker on the dashboard; empty without a worker."""
    return _dashboard_link(site, task, f"worker-{task.worker}", task.worker) if task.worker else ""


def _child_lines(
    scope: QueryScope, viewer: Viewer, name: str, using: str, roots: list[type[SimpleTask]]
) -> list[_Line]:
    queries = {
        root: scope.rows(root, using)
        .filter(parent=name)
        .order_by("pk")
        .values_list(key_as_text("pk"), "status")
        for root in roots
    }
    lines: list[_Line] = []
    for root, rows in first_rows(using, queries, MAX_CHILDREN + 1).items():
        statuses = {parse_key(root, text): status for text, status in rows[:MAX_CHILDREN]}
        visible_keys = scope.visible_keys(root, using, statuses)
        for pk, status in statuses.items():
            if pk in visible_keys:
                lines.append((viewer.link(root, using, pk), badges.status(status)))
        if len(rows) > MAX_CHILDREN:
            lines.append(("…", ""))
    return lines


def _dashboard_link(site: AdminSite, task: SimpleTask, anchor: str, text: str) -> SafeString | str:
    viewer = viewer_of(task)
    if viewer is not None and not viewer.may_view(Dashboard):
        return escape_invisible(text)
    try:
        url = reverse(f"{site.name}:django_simpletask3_dashboard_changelist")
    except NoReverseMatch:
        return escape_invisible(text)
    return format_html('<a href="{}#{}">{}</a>', url, anchor, escape_invisible(text))

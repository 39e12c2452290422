"""Links from a task to its parent, its children, its queue and its worker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin import AdminSite
from django.db import models, router
from django.urls import NoReverseMatch, reverse
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..control import Dashboard
from ..db.limited_queries import first_rows, key_as_text, parse_key
from ..db.loading import saved_models
from ..dependencies.loading import load_by_key
from ..dependencies.overview import read_dependents, read_waits_for
from ..ledger.task_row import table_model, task_reference, write_database
from ..models.task import SimpleTask
from ..monitoring.scope import QueryScope
from ..schedules.tables import Schedule
from .html import pills, words
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


@dataclass(slots=True)
class RelatedTasks:
    """Tasks in one relation to another one: those that the user may view, the first of them."""

    #: A link, and the status if it is known.
    rows: list[tuple[SafeString | str, Any]] = field(default_factory=list)
    #: How many there are, in words.
    text: str = ""
    has_more: bool = False
    #: Databases that do not answer.
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.text or self.problems)

    def as_list(self) -> SafeString | str:
        """The number and the links as HTML; empty if there is none."""
        if not self:
            return ""
        lines: list[_Line] = [(link, pills.status_pill(status)) for link, status in self.rows]
        lines += [("…", "")] if self.has_more else []
        lines += [(problem, "") for problem in self.problems]
        listed = format_html_join("", "<li>{} {}</li>", lines)
        return format_html('{}<ul class="st3-related">{}</ul>', self.text, listed)


def read_children(task: SimpleTask) -> RelatedTasks:
    """The tasks that ``task`` enqueued and the user may view, the first of each table.

    One statement per database, by the index of ``parent``.
    """
    found, viewer = RelatedTasks(), viewer_of(task)
    if viewer is None:
        return found
    unreachable: dict[str, str] = {}
    scope = viewer.scope(unreachable)
    for rows, has_more in scope.query_databases(
        partial(_child_rows, scope, viewer, task_reference(task))
    ):
        found.rows += rows
        found.has_more |= has_more
    for alias, error in unreachable.items():
        from ..monitoring import problems

        problem = problems.unreachable_database(alias, error)
        found.problems.append(problem.translate(in_full=False))
    return found


def read_prerequisites(task: SimpleTask) -> RelatedTasks:
    """The tasks that ``task`` waits, or has waited, for: how many, and the first."""
    viewer, found = viewer_of(task), read_waits_for(task)
    if viewer is None or found is None:
        return RelatedTasks()
    text = _("%(missing)s of %(total)s tasks")
    if found.failed:
        text = _("%(missing)s of %(total)s tasks; %(failed)s failed")
    counts = {name: number_format(getattr(found, name)) for name in ("missing", "total", "failed")}
    keys = found.first_keys(MAX_CHILDREN)
    rows = _rows_of_keys(viewer, found.using, keys)
    return RelatedTasks(rows, text % counts, found.total > len(keys))


def read_dependents_of(task: SimpleTask) -> RelatedTasks:
    """The tasks that wait, or have waited, for ``task``: how many, and the first."""
    viewer, found = viewer_of(task), read_dependents(task, MAX_CHILDREN)
    if viewer is None or not found.total:
        return RelatedTasks()
    text = ngettext("%(count)s task", "%(count)s tasks", found.total)
    text %= {"count": number_format(found.total)}
    rows = _rows_of_keys(viewer, write_database(task), found.first_keys)
    return RelatedTasks(rows, text, found.total > len(found.first_keys))


def _rows_of_keys(
    viewer: Viewer, using: str, keys: Iterable[tuple[str, str]]
) -> list[tuple[SafeString | str, Any]]:
    """Links to those of the tasks with these keys that the user may view, and their statuses."""
    by_model: dict[type[SimpleTask], dict[str, Any]] = {}
    for (label, key), row in load_by_key(keys, using).items():
        root = cast("type[SimpleTask]", apps.get_model(label))
        by_model.setdefault(root, {})[key] = row
    lines: list[tuple[SafeString | str, Any]] = []
    scope = viewer.scope({})
    for root, rows in by_model.items():
        visible_keys = scope.visible_keys(root, using, rows) if viewer.may_view(root) else ()
        lines += [
            (viewer.link(root, using, key), row.status)
            for key, row in rows.items()
            if key in visible_keys
        ]
    return lines


def queue(site: AdminSite, task: SimpleTask) -> SafeString | str:
    """A link to the task's queue on the dashboard, by the model that the task was saved as."""
    root, using = table_model(type(task)), write_database(task)
    model = saved_models(root, using, [task.pk])[task.pk]
    return _dashboard_link(site, task, f"queue-{model._meta.label}", model.get_event_channel())


def queue_name(site: AdminSite, task: SimpleTask, model: type[SimpleTask]) -> SafeString | str:
    """A link to the queue of ``model``, as which the task was saved, with the name of its tasks."""
    name = str(capfirst(model._meta.verbose_name_plural))
    return _dashboard_link(
        site, task, f"queue-{model._meta.label}", name, model.get_event_channel()
    )


def worker(site: AdminSite, task: SimpleTask) -> SafeString | str:
    """A link to the task's worker on the dashboard; empty without a worker."""
    if not task.worker:
        return ""
    return _dashboard_link(
        site,
        task,
        f"node-{words.worker_node(task.worker)}",
        words.worker_label(task.worker),
        task.worker,
    )


def _child_rows(
    scope: QueryScope, viewer: Viewer, name: str, using: str, roots: list[type[SimpleTask]]
) -> tuple[list[tuple[SafeString | str, Any]], bool]:
    queries = {
        root: scope.rows(root, using)
        .filter(parent=name)
        .order_by("pk")
        .values_list(key_as_text("pk"), "status")
        for root in roots
    }
    lines: list[tuple[SafeString | str, Any]] = []
    has_more = False
    for root, rows in first_rows(using, queries, MAX_CHILDREN + 1).items():
        statuses = {parse_key(root, text): status for text, status in rows[:MAX_CHILDREN]}
        visible_keys = scope.visible_keys(root, using, statuses)
        lines += [
            (viewer.link(root, using, pk), status)
            for pk, status in statuses.items()
            if pk in visible_keys
        ]
        has_more |= len(rows) > MAX_CHILDREN
    return lines, has_more


def _dashboard_link(
    site: AdminSite, task: SimpleTask, anchor: str, text: str, title: str = ""
) -> SafeString | str:
    viewer = viewer_of(task)
    if viewer is not None and not viewer.may_view(Dashboard):
        return escape_invisible(text)
    try:
        url = reverse(f"{site.name}:django_simpletask3_dashboard_changelist")
    except NoReverseMatch:
        return escape_invisible(text)
    title = format_html(' title="{}"', escape_invisible(title)) if title else SafeString()
    return format_html('<a href="{}#{}"{}>{}</a>', url, anchor, title, escape_invisible(text))


def schedule(site: AdminSite, task: SimpleTask, key: str) -> SafeString | str:
    """A link to the schedule with this key."""
    viewer, text = viewer_of(task), escape_invisible(key)
    if viewer is None or not viewer.may_view(Schedule):
        return text
    try:
        url = reverse(f"{site.name}:django_simpletask3_schedule_changelist")
    except NoReverseMatch:
        return text
    return format_html('<a href="{}?{}">{}</a>', url, urlencode({"q": key}), text)

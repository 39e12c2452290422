"""Which models and tasks a user may view, and the links to their pages."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.utils import quote
from django.db import router
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..db.loading import load_tasks
from ..ledger.task_row import table_model
from ..models.registry import table_models, task_models
from ..models.task import SimpleTask
from ..monitoring.scope import QueryScope
from .html.values import escape_invisible

#: Tasks that the address of a list may name.
MAX_SELECTED = 50


class Viewer:
    """The user of a request to an admin site, and what that user may view."""

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        self.site = site
        self.request = request
        self._may_view: dict[Any, bool] = {}
        self._querysets: dict[Any, Any] = {}

    def __reduce__(self) -> Any:
        # Copying or caching a displayed task must not carry its viewer along.
        return _no_viewer, ()

    def models(self) -> list[type[SimpleTask]]:
        """The task models that the user may view."""
        return [model for model in task_models() if self.may_view(model)]

    def scope(self, unreachable: dict[str, str] | None = None) -> QueryScope:
        """The tables that the user may view, limited to the rows that their lists show.

        A user who may view only a proxy or a child model gets no rows: the table belongs to the
        root. Sliced, combined or DISTINCT ON querysets contribute no rows. If the admin of a table
        decides for each row, it is asked for each.
        """
        visible_roots = [r for r in table_models() if self.may_view(r) and self._is_filterable(r)]
        restricted_rows = {r: self._queryset(r) for r in visible_roots if self._is_restricted(r)}
        row_checks = {r: partial(self._viewable_keys, r) for r in visible_roots if self._asks(r)}
        return QueryScope(visible_roots, restricted_rows, row_checks, unreachable)

    def may_view_every_row(self, model: type[SimpleTask]) -> bool:
        """Whether the user may view all tasks of the table of ``model``."""
        return all(
            self.may_view(m)
            and self._is_filterable(m)
            and not self._is_restricted(m)
            and not self._asks(m)
            for m in {model, table_model(model)}
        )

    def may_view(self, model: type[Model]) -> bool:
        """Whether the user may view ``model``: by its admin, or else by Django's permissions."""
        model = page_model(model)
        if model not in self._may_view:
            self._may_view[model] = self._has_view_permission(model)
        return self._may_view[model]

    def link(
        self, model: type[SimpleTask], database: str, pk: Any, text: str = ""
    ) -> SafeString | str:
        """A link to the page of a task, or the label alone if the user may not view it.

        The pages of a model show the rows of one database. A task in another database has no
        page; its label names the database.
        """
        label = escape_invisible(text or task_label(model, database, pk))
        model = page_model(model)
        if not self._has_page(model, database):
            return label
        try:
            url = reverse(self._url_name(model, "change"), args=[quote(pk)])
        except NoReverseMatch:
            return label
        return format_html('<a href="{}">{}</a>', url, label)

    def list_link(self, model: type[SimpleTask], text: str) -> SafeString | str:
        """A link to the list of ``model``; or the text alone if there is none."""
        url = self.list_url(model)
        text = escape_invisible(text)
        return format_html('<a href="{}">{}</a>', url, text) if url else text

    def list_url(self, model: type[Model]) -> str:
        """The address of the list of ``model``; empty if the user has none."""
        model = page_model(model)
        if not self.site.is_registered(model) or not self.may_view(model):
            return ""
        return reverse(self._url_name(model, "changelist"))

    def page_database(self, model: type[SimpleTask]) -> str:
        """The database whose rows the pages of ``model`` show; empty if the user has none."""
        model = page_model(model)
        if not self.site.is_registered(model) or not self.may_view(model):
            return ""
        # A replica that the list reads has the rows of the database that is written.
        return self._queryset(model)._db or router.db_for_write(model)

    def selection_link(
        self, model: type[SimpleTask], database: str, keys: Collection[str], text: str
    ) -> SafeString | str:
        """A link to the list of the tasks ``keys`` only; the text alone if there is no such page.

        An address has room for MAX_SELECTED keys.
        """
        model = page_model(model)
        is_writable = len(keys) <= MAX_SELECTED and not any("," in key for key in keys)
        if not is_writable or not self._has_page(model, database):
            return escape_invisible(text)
        url = reverse(self._url_name(model, "changelist"))
        query = urlencode({f"{model._meta.pk.name}__in": ",".join(keys)})
        return format_html('<a href="{}?{}">{}</a>', url, query, escape_invisible(text))

    def _has_page(self, model: type[SimpleTask], database: str) -> bool:
        return self.page_database(model) == database

    def _has_view_permission(self, model: type[Model]) -> bool:
        if self.site.is_registered(model):
            return bool(self.site.get_model_admin(model).has_view_permission(self.request))
        meta = model._meta
        return any(
            self.request.user.has_perm(f"{meta.app_label}.{verb}_{meta.model_name}")
            for verb in ("view", "change")
        )

    def _asks(self, model: type[SimpleTask]) -> bool:
        return self.site.is_registered(model) and decides_by_row(
            self.site.get_model_admin(model), "has_view_permission"
        )

    def _viewable_keys(self, root: type[SimpleTask], using: str, keys: Collection[str]) -> set[str]:
        model_admin = self.site.get_model_admin(root)
        tasks = load_tasks(root, using, map(root._meta.pk.to_python, keys))
        return {str(t.pk) for t in tasks if model_admin.has_view_permission(self.request, t)}

    def _queryset(self, model: type[SimpleTask]) -> Any:
        if model not in self._querysets:
            self._querysets[model] = self.site.get_model_admin(model).get_queryset(self.request)
        return self._querysets[model]

    def _is_restricted(self, root: type[SimpleTask]) -> bool:
        return self.site.is_registered(root) and bool(self._queryset(root).query.where)

    def _is_filterable(self, root: type[SimpleTask]) -> bool:
        if not self.site.is_registered(root):
            return True
        query = self._queryset(root).query
        return not (query.is_sliced or query.combinator or query.distinct_fields)

    def _url_name(self, model: type[Model], page: str) -> str:
        meta = model._meta
        return f"{self.site.name}:{meta.app_label}_{meta.model_name}_{page}"


def page_model(model: Any) -> Any:
    """The model whose pages show the tasks of ``model``: that of a queue has none of its own."""
    return table_model(model) if getattr(model, "_model_columns", ()) else model


def decides_by_row(model_admin: Any, method: str) -> bool:
    """Whether ``method`` of the admin is not Django's own, which gives all rows one answer."""
    return getattr(getattr(model_admin, method), "__func__", None) is not getattr(
        ModelAdmin, method
    )


def shows_outcome(modeladmin: Any, request: HttpRequest, task: SimpleTask) -> bool:
    """Whether the pages of ``modeladmin`` show the result, or the error, of ``task``."""
    get_parts = getattr(modeladmin, "get_task_parts", None)  # of SimpleTaskAdmin only
    return get_parts is None or "outcome" in get_parts(request, task)


def may_view_row(model_admin: Any, request: HttpRequest, task: SimpleTask) -> bool:
    """Whether the admin, if it decides for each row, shows ``task`` to the user."""
    if not decides_by_row(model_admin, "has_view_permission"):
        return True
    return bool(model_admin.has_view_permission(request, task))


def _no_viewer() -> None:
    return None


def task_label(model: type[SimpleTask], database: str, pk: object) -> str:
    """Model and key of a task, with the database if it is not the default one of the model."""
    suffix = "" if database == router.db_for_write(table_model(model)) else f"@{database}"
    return f"{model._meta.label}{suffix} {pk}"


def attach_viewer(task: SimpleTask, viewer: Viewer) -> None:
    """Attach ``viewer`` to ``task``: Django passes only the task to the columns of a list."""
    vars(task)["_viewer"] = viewer


def viewer_of(task: SimpleTask) -> Viewer | None:
    """The viewer that was attached to ``task``, or None."""
    viewer: Viewer | None = vars(task).get("_viewer")
    return viewer

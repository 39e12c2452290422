"""What a user may see of tasks and models: which of them, and the way to their pages."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote
from django.db import router
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..ledger.task_row import table_model
from ..models.registry import table_models, task_models
from ..models.task import SimpleTask
from ..monitoring.scope import QueryScope
from .html.values import escape_invisible


class Viewer:
    """The user of a request, as an admin site knows them."""

    def __init__(self, site: Any, request: Any) -> None:
        self.site = site
        self.request = request
        self._may_view: dict[Any, bool] = {}
        self._querysets: dict[Any, Any] = {}

    def __reduce__(self) -> Any:
        # A task that is shown may be copied or put into a cache; for whom it was shown is not.
        return _no_viewer, ()

    def models(self) -> list[type[SimpleTask]]:
        """The task models that the user may view."""
        return [model for model in task_models() if self.may_view(model)]

    def scope(self, unreachable: dict[str, str] | None = None) -> QueryScope:
        """The tables whose model the user may view, no more of their rows than its list shows.

        Who may view a proxy or a child only sees no row here: the table is that of the root. Nor
        are there any of a model whose list is cut or put together from several queries.
        """
        visible_roots = [
            root for root in table_models() if self.may_view(root) and self._is_filterable(root)
        ]
        restricted_rows = {
            root: self._queryset(root) for root in visible_roots if self._is_restricted(root)
        }
        return QueryScope(visible_roots, restricted_rows, unreachable)

    def may_view(self, model: Any) -> bool:
        """Whether the user may view ``model``: its admin says so, or else Django's permissions."""
        if model not in self._may_view:
            self._may_view[model] = self._has_view_permission(model)
        return self._may_view[model]

    def link(self, model: Any, database: str, pk: Any, text: str = "") -> SafeString | str:
        """A link to the page of a task; its words alone where there is none that the user may see.

        The pages of a model show the rows of one database. What stands in another one has no page,
        but the database in its words.
        """
        label = escape_invisible(text or task_label(model, database, pk))
        if not self._has_page(model, database):
            return label
        try:
            url = reverse(self._url_name(model, "change"), args=[quote(pk)])
        except NoReverseMatch:
            return label
        return format_html('<a href="{}">{}</a>', url, label)

    def list_link(self, model: Any, text: str) -> SafeString | str:
        """A link to the list of ``model``; its words alone where there is none."""
        if not self.site.is_registered(model) or not self.may_view(model):
            return escape_invisible(text)
        url = reverse(self._url_name(model, "changelist"))
        return format_html('<a href="{}">{}</a>', url, escape_invisible(text))

    def _has_page(self, model: Any, database: str) -> bool:
        if not self.site.is_registered(model) or not self.may_view(model):
            return False
        # A replica that the list reads from has the rows of the database that is written to.
        list_database: str = self._queryset(model)._db or router.db_for_write(model)
        return list_database == database

    def _has_view_permission(self, model: Any) -> bool:
        if self.site.is_registered(model):
            return bool(self.site.get_model_admin(model).has_view_permission(self.request))
        meta = model._meta
        return any(
            self.request.user.has_perm(f"{meta.app_label}.{verb}_{meta.model_name}")
            for verb in ("view", "change")
        )

    def _queryset(self, model: Any) -> Any:
        if model not in self._querysets:
            self._querysets[model] = self.site.get_model_admin(model).get_queryset(self.request)
        return self._querysets[model]

    def _is_restricted(self, root: Any) -> bool:
        return self.site.is_registered(root) and bool(self._queryset(root).query.where)

    def _is_filterable(self, root: Any) -> bool:
        if not self.site.is_registered(root):
            return True
        query = self._queryset(root).query
        return not (query.is_sliced or query.combinator or query.distinct_fields)

    def _url_name(self, model: Any, page: str) -> str:
        meta = model._meta
        return f"{self.site.name}:{meta.app_label}_{meta.model_name}_{page}"


def _no_viewer() -> None:
    return None


def task_label(model: Any, database: str, pk: Any) -> str:
    """A task in words, with its database where that is not the usual one."""
    suffix = "" if database == router.db_for_write(table_model(model)) else f"@{database}"
    return f"{model._meta.label}{suffix} {pk}"


def attach_viewer(task: Any, viewer: Viewer) -> None:
    """Let what is shown of ``task`` know for whom: Django gives a column nothing but the task."""
    vars(task)["_viewer"] = viewer


def viewer_of(task: Any) -> Viewer | None:
    """For whom ``task`` is shown; None if nobody has said so."""
    viewer: Viewer | None = vars(task).get("_viewer")
    return viewer

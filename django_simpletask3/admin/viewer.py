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
from .html.values import visible


class Viewer:
    """The user of a request, as an admin site knows them."""

    def __init__(self, site: Any, request: Any) -> None:
        self.site = site
        self.request = request
        self._may_view: dict[Any, bool] = {}
        self._rows: dict[Any, Any] = {}

    def __reduce__(self) -> Any:
        # A task that is shown may be copied or put into a cache; for whom it was shown is not.
        return _nobody, ()

    def models(self) -> list[type[SimpleTask]]:
        """The task models that the user may view."""
        return [model for model in task_models() if self.may_view(model)]

    def scope(self, silent: dict[str, str] | None = None) -> QueryScope:
        """The tables whose model the user may view, no more of their rows than its list shows.

        Who may view a proxy or a child only sees no row here: the table is that of the root. Nor
        are there any of a model whose list is cut or put together from several queries.
        """
        found = [root for root in table_models() if self.may_view(root) and self._can_be_kept(root)]
        within = {root: self._list(root) for root in found if self._is_restricted(root)}
        return QueryScope(found, within, silent)

    def may_view(self, model: Any) -> bool:
        """Whether the user may view ``model``: its admin says so, or else Django's permissions."""
        if model not in self._may_view:
            self._may_view[model] = self._asked(model)
        return self._may_view[model]

    def link(self, model: Any, database: str, pk: Any, words: str = "") -> SafeString | str:
        """A link to the page of a task; its words alone where there is none that the user may see.

        The pages of a model show the rows of one database. What stands in another one has no page,
        but the database in its words.
        """
        shown = visible(words or name_of(model, database, pk))
        if not self._has_page(model, database):
            return shown
        try:
            page = reverse(self._url(model, "change"), args=[quote(pk)])
        except NoReverseMatch:
            return shown
        return format_html('<a href="{}">{}</a>', page, shown)

    def list_link(self, model: Any, text: str) -> SafeString | str:
        """A link to the list of ``model``; its words alone where there is none."""
        if not self.site.is_registered(model) or not self.may_view(model):
            return visible(text)
        page = reverse(self._url(model, "changelist"))
        return format_html('<a href="{}">{}</a>', page, visible(text))

    def _has_page(self, model: Any, database: str) -> bool:
        if not self.site.is_registered(model) or not self.may_view(model):
            return False
        # A replica that the list reads from has the rows of the database that is written to.
        shown: str = self._list(model)._db or router.db_for_write(model)
        return shown == database

    def _asked(self, model: Any) -> bool:
        if self.site.is_registered(model):
            return bool(self.site.get_model_admin(model).has_view_permission(self.request))
        meta = model._meta
        return any(
            self.request.user.has_perm(f"{meta.app_label}.{verb}_{meta.model_name}")
            for verb in ("view", "change")
        )

    def _list(self, model: Any) -> Any:
        if model not in self._rows:
            self._rows[model] = self.site.get_model_admin(model).get_queryset(self.request)
        return self._rows[model]

    def _is_restricted(self, root: Any) -> bool:
        return self.site.is_registered(root) and bool(self._list(root).query.where)

    def _can_be_kept(self, root: Any) -> bool:
        if not self.site.is_registered(root):
            return True
        query = self._list(root).query
        return not (query.is_sliced or query.combinator or query.distinct_fields)

    def _url(self, model: Any, page: str) -> str:
        meta = model._meta
        return f"{self.site.name}:{meta.app_label}_{meta.model_name}_{page}"


def _nobody() -> None:
    return None


def name_of(model: Any, database: str, pk: Any) -> str:
    """A task in words, with its database where that is not the usual one."""
    place = "" if database == router.db_for_write(table_model(model)) else f"@{database}"
    return f"{model._meta.label}{place} {pk}"


def remember(task: Any, viewer: Viewer) -> None:
    """Let what is shown of ``task`` know for whom: Django gives a column nothing but the task."""
    vars(task)["_viewer"] = viewer


def viewer_of(task: Any) -> Viewer | None:
    """For whom ``task`` is shown; None if nobody has said so."""
    viewer: Viewer | None = vars(task).get("_viewer")
    return viewer

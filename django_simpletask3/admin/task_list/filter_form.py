"""The row of filters above a list of tasks, and the links to filters that are used often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from django.contrib.admin import ListFilter
from django.contrib.admin.views.main import SEARCH_VAR
from django.utils.functional import cached_property
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..html.times import local_time
from ..html.words import worker_node
from . import filters

#: Titles and queries of the links of every list.
SAVED_FILTERS = (
    (gettext_lazy("Failed today"), f"{filters.STATE}=failed&{filters.TIME}=done-today"),
    (gettext_lazy("Longer than 10 min"), f"{filters.STATE}=running&{filters.RUNS}=600"),
    (gettext_lazy("Enqueued by me"), f"{filters.ACTOR}={filters.ME}"),
)
_FIELDS = (SEARCH_VAR, filters.ERROR, filters.TIME, filters.SINCE, filters.WORKER)


@dataclass(frozen=True, slots=True)
class Menu:
    """A filter of the ModelAdmin's ``list_filter``: its choices, or its own HTML."""

    title: str
    chosen: str
    choices: list[dict[str, Any]]
    html: SafeString | str = ""


def filter_menus(changelist: Any) -> list[Menu]:
    """The menus of the filters of the ModelAdmin's own ``list_filter``."""
    return [_menu(changelist, spec) for spec in changelist.filter_specs]


def _menu(changelist: Any, spec: Any) -> Menu:
    if spec.template != ListFilter.template:
        from django.contrib.admin.templatetags.admin_list import admin_list_filter

        html = conditional_escape(admin_list_filter(changelist, spec))
        return Menu(str(spec.title), "", [], html)
    choices = list(spec.choices(changelist))
    chosen = next((choice["display"] for choice in choices if choice["selected"]), "")
    return Menu(str(spec.title), chosen, choices)


class FilterForm:
    """What the row of filters of ``changelist`` shows."""

    def __init__(self, changelist: Any) -> None:
        self._changelist = changelist
        self.chosen: filters.Filters = changelist.chosen

    @property
    def search_label(self) -> str:
        """The label of the search; empty if the ModelAdmin has no ``search_fields``."""
        if not self._changelist.search_fields:
            return ""
        return str(self._changelist.search_help_text or _("Search"))

    @property
    def times(self) -> list[tuple[str, Any]]:
        """The values and words of the periods, the empty one first."""
        is_sequential = filters.has_sequential_keys(self._changelist.model)
        enqueued = filters.ENQUEUED_TIMES if is_sequential else ()
        return [("", _("at any time")), *enqueued, *filters.DONE_TIMES]

    @property
    def since(self) -> str:
        """The value of the field for the time since when tasks were done, as browsers know it."""
        if self.chosen.since is None:
            return ""
        local = local_time(self.chosen.since).replace(tzinfo=None)
        return local.isoformat(timespec="seconds" if local.second else "minutes")

    @cached_property
    def workers(self) -> list[str]:
        """The nodes of the workers of the tasks on the page."""
        return sorted({worker_node(task.worker) for task in self._changelist.page_rows} - {""})

    @property
    def hidden(self) -> Iterator[tuple[str, str]]:
        """Names and values of the other parameters, which stay when the form is sent."""
        for name, values in self._changelist.filter_params.items():
            if name not in _FIELDS:
                yield from ((name, value) for value in values)

    @cached_property
    def menus(self) -> list[Menu]:
        """The filters of the ModelAdmin's own ``list_filter``."""
        return filter_menus(self._changelist)

    @property
    def saved(self) -> Iterator[dict[str, Any]]:
        """The links of ``saved_filters``: plain addresses."""
        current = set(self._changelist.params.items())
        for title, query in getattr(self._changelist.model_admin, "saved_filters", ()):
            parameters = parse_qsl(query)
            if not self._changelist.may_search_errors and any(
                name == filters.ERROR or filters.is_of_outcome(name) for name, _value in parameters
            ):
                continue
            is_chosen = set(parameters) == current
            yield {"title": title, "link": f"?{query}", "is_chosen": is_chosen}

    @property
    def without_filters(self) -> str:
        """The link that lists the tasks in the chosen state without any other filter."""
        state = self.chosen.state
        return f"?{filters.STATE}={state}" if state else "?"

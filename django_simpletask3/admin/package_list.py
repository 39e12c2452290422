"""The list of one of the package's own models, with the look of the list of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from .html.icons import icon
from .html.values import escape_invisible
from .task_list.empty import EmptyList
from .task_list.filter_form import Menu, filter_menus
from .task_list.rows import COLUMNS, Column, render_table

TEMPLATE = "admin/django_simpletask3/package_list.html"
BOX = COLUMNS["action_checkbox"]


class PackageChangeList(ChangeList):
    """A list of rows of one line; subclasses say how its columns look."""

    look: ClassVar[Mapping[str, Column]] = {}

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        if not self.is_popup:
            self.title = str(capfirst(self.opts.verbose_name_plural))

    @property
    def is_filtered(self) -> bool:
        """Whether there is a search or a filter."""
        return bool(self.query or self.get_filters_params())

    @property
    def hidden(self) -> Iterator[tuple[str, str]]:
        """Names and values of the other parameters, which stay when the search is sent."""
        for name, values in self.filter_params.items():
            if name != SEARCH_VAR:
                yield from ((name, value) for value in values)

    def menus(self) -> list[Menu]:
        """The filters."""
        return filter_menus(self)

    def table(self) -> SafeString:
        """The rows as HTML."""
        return render_table(self, self.look)

    def empty(self) -> EmptyList:
        """What the list says if it has no rows."""
        if not self.is_filtered:
            return self.explain_empty()
        title = _("No %(name)s fits the filter") % {"name": self.opts.verbose_name}
        return EmptyList(title, links=((_("Clear all filters"), "?"),))

    def explain_empty(self) -> EmptyList:
        """Why there are no rows at all, and what makes one."""
        raise NotImplementedError


def pill(tone: str, word: object, whole: object, shape: str = "") -> SafeString:
    """The pill of a row: shape, word and colour, and the whole sentence as its title."""
    return format_html(
        '<span class="st3-pill st3-{}" title="{}">{}{}</span>',
        tone,
        escape_invisible(str(whole)),
        icon(shape or tone),
        word,
    )

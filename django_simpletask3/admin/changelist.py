"""The list of tasks, which never reads large columns or counts a whole table."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, cast

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..control import pause_of
from ..db import clock
from ..ledger.task_row import table_model
from ..models.explanation.pending import explain_pause
from ..models.task import SimpleTask
from .html import date_hierarchy
from .html.pills import STATE_WORDS, State
from .html.times import format_moment
from .html.values import escape_invisible
from .task_list import filters, live, states
from .task_list.activity import render_activity
from .task_list.empty import EmptyList, explain_empty
from .task_list.filter_form import FilterForm
from .task_list.last_events import read_last_events
from .task_list.rows import render_rows
from .viewer import Viewer, attach_viewer, decides_by_row, may_view_row, shows_outcome

#: How many rows of each state are counted, and how many rows the pages show.
MAX_COUNTED = 10_000
MAX_LISTED = 10_000


class TaskPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the first MAX_LISTED rows; filters lead to the others."""

    @cached_property
    def _capped_count(self) -> int:
        rows: Any = self.object_list
        return int(rows[: MAX_LISTED + 1].count())

    @property
    def count(self) -> int:
        """The number of rows, at most MAX_LISTED."""
        return min(self._capped_count, MAX_LISTED)

    @property
    def has_more(self) -> bool:
        """Whether there are rows that no page shows."""
        return self._capped_count > MAX_LISTED


class TaskChangeList(ChangeList):
    """A list of tasks that defers large columns unless it shows them."""

    #: Large columns, with the names in ``list_display`` that show them.
    large_columns: ClassVar[dict[str, set[str]]] = {
        "result_data": {"result_data", "result_view"},
        "error_data": {"error_data", "error_view"},
    }

    @property
    def _task_model(self) -> type[SimpleTask]:
        model: Any = self.model
        return cast("type[SimpleTask]", model)

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.address_query = request.GET.urlencode()
        self._request = request
        if not self.is_popup:
            self.title = str(capfirst(self.opts.verbose_name_plural))

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Like Django's, without the parameters of the filters of this package."""
        lookups = super().get_filters_params(params)
        return {name: value for name, value in lookups.items() if name not in filters.PARAMETERS}

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        #: The time by which the list knows which tasks are due.
        self.now = clock.now(router.db_for_write(table_model(self._task_model)))
        self.chosen = filters.Filters.of(self.params)
        task_admin: Any = self.model_admin
        self.may_search_errors = bool(task_admin.may_search_errors(request))
        if self.chosen.error and not self.may_search_errors:
            raise IncorrectLookupParameters
        rows = super().get_queryset(request, *args, **kwargs)
        rows = filters.apply_indexed(rows, self.chosen, self.now)
        rows = filters.apply_bounded(rows, self.chosen, request.user, MAX_LISTED)
        list_columns = {*map(str, self.list_display)}
        return rows.defer(*(n for n, uses in self.large_columns.items() if not uses & list_columns))

    #: Whether the tasks are in the order of keys that do not reflect their age.
    is_by_key = False

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[SimpleTask]) -> list[Any]:
        """Like Django's, but keys that do not reflect age sort by ``add_time`` in a short list.

        No index has ``add_time``.
        """
        ordering = list(super().get_ordering(request, queryset))
        if ORDER_VAR in self.params or self.model_admin.get_ordering(request):
            return ordering
        self.is_by_key = queryset.order_by()[: MAX_LISTED + 1].count() > MAX_LISTED
        return ordering if self.is_by_key else ["-add_time", *ordering]

    def get_results(self, request: HttpRequest) -> None:
        """Like Django's, with the viewer attached to each task.

        Without the tasks that the admin refuses to show, if it decides for each.
        """
        super().get_results(request)
        self.page_rows = list(self.result_list)
        if decides_by_row(self.model_admin, "has_view_permission"):
            may_view = partial(may_view_row, self.model_admin, request)
            # As a queryset: Django makes the forms of list_editable from it.
            self.result_list._result_cache = list(filter(may_view, self.result_list))
        self.prepare(self.result_list, request)

    def prepare(self, tasks: Iterable[Any], request: HttpRequest) -> None:
        """Attach to ``tasks`` what the columns show that their rows do not hold."""
        tasks, viewer = list(tasks), Viewer(self.model_admin.admin_site, request)
        shows_activity = "activity_label" in map(str, self.list_display)
        events = read_last_events(tasks) if shows_activity else {}
        for task in tasks:
            attach_viewer(task, viewer)
            last = events.get(task.pk)
            if last and not shows_outcome(self.model_admin, request, task):
                last.hide_outcome()
            task._admin_activity = render_activity(task, last, self.now) if last else ""

    @property
    def is_filtered(self) -> bool:
        """Whether there is a search or a filter, other than that of the state."""
        names = {*self.get_filters_params()}
        if self.chosen.state is not None:
            names -= {filters.STATUS}
        return bool(self.query or self.chosen.is_narrow or names)

    @cached_property
    def counts(self) -> states.Counts:
        """How many tasks there are in each state, whatever is searched; at most one statement.

        None if all of them are on the page.
        """
        if not (self.is_filtered or self.chosen.state or self.multi_page):
            return states.count_tasks(self.page_rows, self.now)
        return states.count_rows(self.root_queryset, self.now, MAX_COUNTED)

    def shown_counts(self) -> states.Counts:
        """The numbers that the tasks on the pages confirm.

        Of a list that is searched or filtered, that of the chosen state only.
        """
        number = self.result_count if self.multi_page else len(self.page_rows)
        chosen = {self.chosen.state: states.Count(number, self.is_truncated)}
        return chosen if self.is_filtered else {**self.counts, **chosen}

    def state_links(self) -> list[dict[str, object]]:
        """Each state with its number of tasks and the link that lists them; None is for all."""
        counts = self.shown_counts()
        return [
            {
                "state": state,
                "word": STATE_WORDS[state] if state else _("All"),
                "count": str(counts.get(state, "")),
                "is_chosen": state is self.chosen.state,
                "link": self.state_link(state),
            }
            for state in (None, *State)
        ]

    def state_link(self, state: State | None) -> str:
        """The link that lists the tasks in ``state``, with the other filters; None for all."""
        chosen = {filters.STATE: state.value} if state else {}
        removed = [filters.STATE, filters.RUNS, "status__", "p"]
        return str(self.get_query_string(chosen, removed))

    @cached_property
    def filter_form(self) -> FilterForm:
        """The fields and menus of the filters."""
        return FilterForm(self)

    def is_without_tasks(self) -> bool:
        """Whether there are no tasks, so that a filter has nothing to find."""
        return not (self.page_rows or self.is_filtered or self.chosen.state)

    def table(self) -> str:
        """The table of the tasks as HTML; if they are edited, of those that have a form."""
        formset: Any = self.formset
        if formset is not None:
            self._show_forms(formset)
        return render_rows(self)

    def _show_forms(self, formset: Any) -> None:
        """Pair tasks and forms: of forms that are refused, the page may have changed since then."""
        listed = {task.pk: task for task in self.result_list}
        edited = [form.instance for form in formset.forms]
        unlisted = [
            task
            for task in edited
            if task.pk is not None
            and task.pk not in listed
            and may_view_row(self.model_admin, self._request, task)
        ]
        self.prepare(unlisted, self._request)
        listed |= {task.pk: task for task in unlisted}
        formset.forms = [form for form in formset.forms if form.instance.pk in listed]
        self.result_list: Any = [listed[form.instance.pk] for form in formset.forms]

    def empty(self) -> EmptyList:
        """What the list says if it has no tasks."""
        return explain_empty(self)

    def pause(self) -> str:
        """Since when the queue of the list is paused, by whom and why; empty if nothing waits."""
        if not self.counts[State.WAITING].number or (found := pause_of(self._task_model)) is None:
            return ""
        sentence = explain_pause(found).translate(partial(format_moment, now=self.now))
        return escape_invisible(sentence)

    def time(self) -> str:
        """The time of the numbers and rows."""
        return live.format_time(self)

    def live_url(self) -> str:
        """The address that the page polls; empty if the ModelAdmin has removed it."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_live"
        try:
            url = reverse(f"{self.model_admin.admin_site.name}:{name}")
        except NoReverseMatch:
            return ""
        return f"{url}?{self.address_query}"

    def shows_dates(self) -> bool:
        """Whether dates are offered: they lead to the tasks that no page shows."""
        names = self.filter_params
        return self.is_truncated or any(n.startswith(f"{self.date_hierarchy}__") for n in names)

    def drilldown(self) -> date_hierarchy.Drilldown | None:
        """The dates to choose from, for ``date_hierarchy = "done_time"``."""
        return date_hierarchy.drilldown(self, str(self.date_hierarchy))

    @property
    def is_truncated(self) -> bool:
        """Whether there are more tasks than the pages show."""
        return bool(getattr(self.paginator, "has_more", False))

    @property
    def max_listed(self) -> int:
        return MAX_LISTED

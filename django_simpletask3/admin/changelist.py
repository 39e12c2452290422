"""The list of tasks, which never reads large columns or counts a whole table."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from ..db.limited_queries import capped_counts
from ..ledger.fields import STATUS
from ..models.task import SimpleTask
from .html import badges, date_hierarchy
from .timeline.progress import progress_of_running
from .viewer import Viewer, attach_viewer, decides_by_row, may_view_row

#: How many rows of each status are counted, and how many rows the pages show.
MAX_COUNTED = 1000
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

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        rows = super().get_queryset(request, *args, **kwargs)
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
        viewer = Viewer(self.model_admin.admin_site, request)
        if decides_by_row(self.model_admin, "has_view_permission"):
            may_view = partial(may_view_row, self.model_admin, request)
            # As a queryset: Django makes the forms of list_editable from it.
            self.result_list._result_cache = list(filter(may_view, self.result_list))
        shows_progress = "progress_label" in map(str, self.list_display)
        progress = progress_of_running(self.result_list) if shows_progress else {}
        for task in self.result_list:
            attach_viewer(task, viewer)
            task._admin_progress = progress.get(task.pk)

    def statuses(self) -> list[dict[str, object]]:
        """Each status with its number of tasks and the link that lists them; one statement."""
        rows = self.root_queryset.order_by()
        queries = {value: rows.filter(status=value).values_list("pk") for value, _name in STATUS}
        counts = capped_counts(rows.db, queries, MAX_COUNTED + 1)
        current = self.params.get("status__exact")
        return [
            {
                "badge": badges.status(value),
                "count": str(count) if count <= MAX_COUNTED else f"{MAX_COUNTED}+",
                "is_chosen": current == str(int(value)),
                "link": self.get_query_string({"status__exact": int(value)}, ["status__", "p"]),
            }
            for value, count in counts.items()
        ]

    def unfiltered_link(self) -> str:
        """The link that lists tasks of every status."""
        return self.get_query_string(remove=["status__", "p"])

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

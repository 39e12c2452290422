"""The list of tasks: nothing of it reads large columns or counts a large table."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.utils.functional import cached_property

from ..db.limited_queries import capped_counts
from ..ledger.fields import STATUS
from .html import badges, date_hierarchy
from .viewer import Viewer, attach_viewer

#: Rows that are counted of each status, and rows that can be reached by turning pages.
MAX_COUNTED = 1000
MAX_LISTED = 10_000


class TaskPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the first MOST_LISTED rows; what lies behind them is found by filters."""

    @cached_property
    def _capped_count(self) -> int:
        rows: Any = self.object_list
        return int(rows[: MAX_LISTED + 1].count())

    @property
    def count(self) -> int:
        """How many rows there are, but no more than MOST_LISTED."""
        return min(self._capped_count, MAX_LISTED)

    @property
    def has_more(self) -> bool:
        """Whether there are rows that no page shows."""
        return self._capped_count > MAX_LISTED


class TaskChangeList(ChangeList):
    """A list that leaves out the columns that it does not show and that may be very large."""

    #: Large columns, with the names in ``list_display`` that show them.
    large_columns: ClassVar[dict[str, set[str]]] = {
        "result_data": {"result_data", "result_view"},
        "error_data": {"error_data", "error_view"},
    }

    def get_queryset(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        rows = super().get_queryset(request, *args, **kwargs)
        list_columns = {*map(str, self.list_display)}
        return rows.defer(
            *(
                name
                for name, display_names in self.large_columns.items()
                if not display_names & list_columns
            )
        )

    #: Whether the tasks are in the order of keys that tell nothing of their age.
    is_by_key = False

    def get_ordering(self, request: Any, queryset: Any) -> list[Any]:
        """As Django's; newest first where the key does not tell, if there are not too many to sort.

        No index has the time of birth.
        """
        ordering = list(super().get_ordering(request, queryset))
        if ORDER_VAR in self.params or self.model_admin.get_ordering(request):
            return ordering
        self.is_by_key = queryset.order_by()[: MAX_LISTED + 1].count() > MAX_LISTED
        return ordering if self.is_by_key else ["-add_time", *ordering]

    def get_results(self, request: Any) -> None:
        """As Django's; each task knows for whom it is shown."""
        super().get_results(request)
        viewer = Viewer(self.model_admin.admin_site, request)
        for task in self.result_list:
            attach_viewer(task, viewer)

    def statuses(self) -> list[dict[str, Any]]:
        """Each status with how many tasks have it and the link that lists them; one statement."""
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

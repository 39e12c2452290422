"""The list of tasks: what it shows of each row without reading results."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.views.main import ChangeList


class TaskChangeList(ChangeList):
    """A list that leaves out the columns that it does not show and that may be very large."""

    large = frozenset({"result_data", "error_data"})

    def get_queryset(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        rows = super().get_queryset(request, *args, **kwargs)
        return rows.defer(*self.large.difference(map(str, self.list_display)))

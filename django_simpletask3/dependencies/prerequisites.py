"""The prerequisites of a task: what it waits for, with results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from ..batches import batches
from ..ledger.task_row import TaskRow, table_model, write_database
from ..states import Status
from .loading import load_by_key
from .tables import dependents_of, key_of, links_of

_BATCH_SIZE = 500
#: Statuses of prerequisites that have failed.
FAILED = (Status.FAILED, Status.CANCELED)


class Prerequisites:
    """The tasks that a task waits, or has waited, for, in the order in which they were named.

    Each use reads them again, in batches of 500. Those that were deleted are left out.
    """

    def __init__(self, task: TaskRow) -> None:
        self._task = task

    def __iter__(self) -> Iterator[Any]:
        return self._load()

    def count(self) -> int:
        """How many were named, those that were deleted included."""
        return self._links().count()

    def failed(self) -> list[Any]:
        """Those that are FAILED or CANCELED now."""
        return list(self._load(status__in=FAILED))

    def _links(self) -> QuerySet[Any]:
        task, using = self._task, write_database(self._task)
        label = table_model(type(task))._meta.label
        dependents = dependents_of(using).filter(model=label, task_key=key_of(task))
        return links_of(using).filter(group__in=dependents.values("group"))

    def _load(self, **conditions: Any) -> Iterator[Any]:
        using = write_database(self._task)
        keys = list(self._links().order_by("id").values_list("model", "task_key"))
        for batch in batches(keys, _BATCH_SIZE):
            tasks = load_by_key(batch, using, with_results=True, **conditions)
            yield from (tasks[key] for key in batch if key in tasks)

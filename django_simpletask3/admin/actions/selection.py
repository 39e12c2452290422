"""The tasks selected in a list: their keys, and the tasks in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models

from ...batches import batches
from ...db.loading import load_tasks
from ...ledger.task_row import table_model
from ...models.task import SimpleTask

#: How many tasks one transaction changes.
BATCH_SIZE = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """Distinct keys of one table, in the order of the list."""

    root: type[SimpleTask]
    using: str
    pks: list[Any]

    @classmethod
    def of(cls, queryset: models.QuerySet[SimpleTask]) -> Selection:
        """The selection of ``queryset``; joins that repeat a row do not matter."""
        # The database that Django would write to: the alias of the queryset, or the router's.
        using = queryset.select_for_update().db
        pks = queryset.using(using).values_list("pk", flat=True)
        return cls(table_model(queryset.model), using, list(dict.fromkeys(pks)))

    def batches(self, limit: int | None = None) -> Iterator[tuple[list[Any], int]]:
        """Yield the tasks of the first ``limit`` keys in batches, each with how many are gone."""
        for batch in batches(self.pks[:limit], BATCH_SIZE):
            # Loaded as the models they were saved as: a proxy's messages go to its own channel.
            tasks = load_tasks(self.root, self.using, batch)
            yield tasks, len(batch) - len(tasks)

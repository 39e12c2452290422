"""The tasks that somebody has selected in a list: their keys, and themselves some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...ledger.task_row import table_model
from ...models.loading import load_tasks
from ...models.task import SimpleTask

#: How many tasks are moved in one transaction.
BATCH_SIZE = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """Tasks of one table, each once, in the order of the list."""

    root: type[SimpleTask]
    using: str
    pks: list[Any]

    @classmethod
    def of(cls, queryset: Any) -> Selection:
        """What the list has selected; whatever it was joined or counted with."""
        # Where Django itself would write the rows: the alias the admin chose, or the router's.
        using = queryset.select_for_update().db
        pks = queryset.using(using).values_list("pk", flat=True)
        return cls(table_model(queryset.model), using, list(dict.fromkeys(pks)))

    def batches(self, limit: int | None = None) -> Iterator[tuple[list[Any], int]]:
        """The tasks, of no more than the first ``most`` keys, and how many of a batch are gone."""
        pks = self.pks[:limit]
        for start in range(0, len(pks), BATCH_SIZE):
            batch = pks[start : start + BATCH_SIZE]
            # As they were saved: a proxy in the list of its root rings its own bell.
            tasks = load_tasks(self.root, self.using, batch)
            yield tasks, len(batch) - len(tasks)

"""The events that are recorded from a moment on, read from their tables."""

from __future__ import annotations

import sys
from itertools import accumulate
from operator import itemgetter
from typing import Any

from ..db.limited_queries import first_rows
from ..db.loading import load_tasks
from ..ledger.event import event_model_of
from ..ledger.task_row import all_rows
from .selection import Key, Selection, Table, by_database


class NewEvents:
    """The events of the tasks of a selection that were recorded since this object was made.

    They are read from the tables: those of a transaction that was rolled back are not among them,
    and those of one that is still open are.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        newest = self._read(dict.fromkeys(selection.tables(), 0), limit=1, newest=True)
        self._marks = {table: max(ids, default=0) for table, ids in newest.items()}

    def read(self) -> list[tuple[Key, Any]]:
        """The events, each with the key of its task, in the order in which they were recorded."""
        timed: list[tuple[Any, tuple[Key, Any]]] = []
        for table, ids in self._read(self._marks, limit=sys.maxsize).items():
            if ids:
                found = all_rows(event_model_of(table[0]), table[1]).filter(pk__in=ids)
                events = self._of_selection(table, list(found.order_by("pk")))
                # A clock that is set back must not change the order within a table.
                times = accumulate((event.event_time for event in events), max)
                keyed = [(Key(*table, event.task_id), event) for event in events]
                timed += zip(times, keyed, strict=True)
        return [keyed for _, keyed in sorted(timed, key=itemgetter(0))]

    def _of_selection(self, table: Table, events: list[Any]) -> list[Any]:
        """Those of ``events`` whose tasks are of the selection; of deleted ones all."""
        tasks = {task.pk: task for task in load_tasks(*table, {e.task_id for e in events})}
        others = {pk for pk, task in tasks.items() if not self._selection.has(task)}
        return [event for event in events if event.task_id not in others]

    def _read(
        self, marks: dict[Table, int], limit: int, *, newest: bool = False
    ) -> dict[Table, list[int]]:
        queries: dict[Table, Any] = {}
        for table, mark in marks.items():
            events = all_rows(event_model_of(table[0]), table[1]).filter(pk__gt=mark)
            queries[table] = events.order_by("-pk" if newest else "pk").values_list("pk")
        return {
            table: [pk for (pk,) in rows]
            for using, by_table in by_database(queries).items()
            for table, rows in first_rows(using, by_table, limit).items()
        }

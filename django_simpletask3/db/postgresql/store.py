"""Write rows and events on PostgreSQL, a batch per statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connections

from ...ledger.event import TaskEvent
from ..store import Change, RowChange, Store
from .json_parameters import NotSerializable, recordset
from .sql import table_sql_for

T = TypeVar("T")


#: Rows in one statement: its parameters are held in memory, twice.
_MAX_ROWS = 1000


class PostgresStore(Store):
    """Writes a whole batch in one statement."""

    has_batch_statements = True

    def update(self, changes: Sequence[RowChange | Change]) -> int:
        names = tuple(changes[0].columns)
        statements = table_sql_for(self._root, self._using, names)
        try:
            records = recordset(*statements.change_groups(changes))
        except NotSerializable:
            return self._update_one_by_one(changes)
        with connections[self._using].cursor() as cursor:
            cursor.execute(records.into(statements.update), records.parameters)
            return int(cursor.rowcount)

    def append_events(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        statements = table_sql_for(self._root, self._using, ())
        for batch in _batches(events, batch_size):
            try:
                records = recordset(statements.event_group(batch))
            except NotSerializable:
                super().append_events(batch)
            else:
                self._insert_events(
                    records.into(statements.append_events), records.parameters, batch
                )

    def insert(self, rows: Sequence[Mapping[str, object]], batch_size: int | None) -> list[object]:
        statements = table_sql_for(self._root, self._using, tuple(rows[0]))
        # All, before the first is inserted.
        recordsets = [recordset(statements.row_group(b)) for b in _batches(rows, batch_size)]
        keys: list[Any] = []
        with connections[self._using].cursor() as cursor:
            for records in recordsets:
                cursor.execute(records.into(statements.insert), records.parameters)
                keys += [key for (key,) in cursor.fetchall()]
        return keys

    def insert_with_event(self, row: Mapping[str, Any], event: TaskEvent) -> Any:
        statements = table_sql_for(self._root, self._using, tuple(row))
        with connections[self._using].cursor() as cursor:
            cursor.execute(statements.insert_with_event, statements.row_parameters(row, event))
            key, _, event.pk = cursor.fetchone()
        event._state.adding, event._state.db = False, self._using
        return key

    def update_with_events(self, changes: Sequence[Change]) -> set[Any]:
        names = tuple(changes[0].columns)
        statements = table_sql_for(self._root, self._using, names)
        events = [change.event for change in changes]
        try:
            if len(changes) == 1:
                values = statements.change_parameters(changes[0])
                return self._insert_events(statements.update_one_with_event, values, events)
            records = recordset(*statements.change_groups(changes), statements.event_group(events))
        except NotSerializable:
            return set()
        return self._insert_events(
            records.into(statements.update_with_events), records.parameters, events
        )

    def _insert_events(
        self, sql: str, parameters: Sequence[Any], events: Iterable[TaskEvent]
    ) -> set[Any]:
        """The keys of the tasks whose events were inserted."""
        with connections[self._using].cursor() as cursor:
            cursor.execute(sql, parameters)
            keys = {(str(task), number): pk for task, number, pk in cursor.fetchall()}
        inserted = set()
        for event in events:
            if (pk := keys.get((str(event.task_id), event.sequence))) is not None:
                event.pk, event._state.adding, event._state.db = pk, False, self._using
                inserted.add(event.task_id)
        return inserted


def _batches(items: Sequence[T], size: int | None) -> list[Sequence[T]]:
    return [items[s : s + (size or _MAX_ROWS)] for s in range(0, len(items), size or _MAX_ROWS)]

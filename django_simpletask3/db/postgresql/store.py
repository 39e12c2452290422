"""Write rows and events on PostgreSQL, a batch per statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connections

from ...batches import batches
from ...ledger.event import TaskEvent
from ..store import Change, KeyTaken, Store
from .json_parameters import NotSerializable, recordset
from .sql import table_sql_for

#: Rows in one statement: its parameters are held in memory, twice.
_MAX_ROWS = 1000


class PostgresStore(Store):
    """Writes a whole batch in one statement."""

    has_batch_statements = True

    def insert(
        self,
        rows: Sequence[Mapping[str, Any]],
        events: Sequence[TaskEvent],
        batch_size: int | None = None,
    ) -> list[Any]:
        statements = table_sql_for(self._root, self._using, tuple(rows[0]))
        if len(rows) == 1:
            parameters = statements.row_parameters(rows[0], events[0])
            return [self._insert_row_with_event(statements.insert_with_event, parameters, *events)]
        # All, before the first is inserted.
        recordsets = [
            recordset(statements.row_group(batch))
            for batch in batches(rows, batch_size or _MAX_ROWS)
        ]
        keys: list[Any] = []
        with connections[self._using].cursor() as cursor:
            for records in recordsets:
                cursor.execute(records.into(statements.insert), records.parameters)
                keys += [key for (key,) in cursor.fetchall()]
        for event, key in zip(events, keys, strict=True):
            event.task_id = key
        self.append(events, batch_size)
        return keys

    def update_with_events(self, changes: Sequence[Change], *, locked: bool = False) -> set[Any]:
        if not changes[0].columns:
            return super().update_with_events(changes, locked=locked)
        statements = table_sql_for(self._root, self._using, tuple(changes[0].columns))
        events = [change.event for change in changes]
        try:
            if len(changes) == 1:
                sql = statements.update_one_with_event
                parameters: Sequence[Any] = statements.change_parameters(changes[0])
            else:
                groups = [*statements.change_groups(changes), statements.event_group(events)]
                records = recordset(*groups)
                sql, parameters = records.into(statements.update_with_events), records.parameters
        except NotSerializable:
            return super().update_with_events(changes, locked=locked)
        if earlier_events := [event for change in changes for event in change.events[:-1]]:
            self.append(earlier_events)
        changed = self._insert_events(sql, parameters, events)
        if locked and len(changed) != len(changes):
            raise self._stale_task()
        return changed

    def append(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        statements = table_sql_for(self._root, self._using, ())
        for batch in batches(events, batch_size or _MAX_ROWS):
            try:
                records = recordset(statements.event_group(batch))
            except NotSerializable:
                super().append(batch)
            else:
                sql = records.into(statements.append_events)
                self._insert_events(sql, records.parameters, batch)

    def _insert_row_with_event(self, sql: str, parameters: Sequence[Any], event: TaskEvent) -> Any:
        with connections[self._using].cursor() as cursor:
            cursor.execute(sql, parameters)
            inserted = cursor.fetchone()
        if inserted is None:
            raise KeyTaken
        event.task_id, _, event.pk = inserted
        event._state.adding, event._state.db = False, self._using
        return event.task_id

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

"""Write rows and events on PostgreSQL, a batch per statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connections

from ...batches import batches
from ...ledger.event import TaskEvent
from ..store import Change, KeyTaken, Store
from .cursors import execute
from .json_parameters import MAX_ROWS, NotSerializable, recordset
from .sql import table_sql_for


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
            parameters = statements.row_parameters(rows[0], events)
            return [self._insert_row_with_event(statements.insert_with_event, parameters, *events)]
        # All, before the first is inserted.
        recordsets = [
            recordset(statements.row_group(row_batch), statements.first_event_group(event_batch))
            for row_batch, event_batch in zip(
                batches(rows, batch_size or MAX_ROWS),
                batches(events, batch_size or MAX_ROWS),
                strict=True,
            )
        ]
        inserted: list[tuple[Any, int, Any]] = []
        with connections[self._using].cursor() as cursor:
            for records in recordsets:
                cursor.execute(records.into(statements.insert_with_events), records.parameters)
                inserted += cursor.fetchall()
        for event, keys in zip(events, inserted, strict=True):
            self._set_keys(event, *keys)
        return [key for key, _, _ in inserted]

    def update_with_events(self, changes: Sequence[Change], *, locked: bool = False) -> set[Any]:
        if not changes[0].columns:
            return super().update_with_events(changes, locked=locked)
        statements = table_sql_for(self._root, self._using, tuple(changes[0].columns))
        earlier_events = [event for change in changes for event in change.events[:-1]]
        if len(changes) == 1:
            events, earlier_events = list(changes[0].events), []
        elif earlier_events and not locked:
            # Those of a row that has changed must not be inserted.
            return set().union(*(self.update_with_events([change]) for change in changes))
        else:
            events = [change.event for change in changes]
        try:
            if len(changes) == 1:
                sql = statements.update_one_with_events(len(events))
                parameters: Sequence[Any] = statements.change_parameters(changes[0])
            else:
                groups = [*statements.change_groups(changes), statements.event_group(events)]
                records = recordset(*groups)
                sql, parameters = records.into(statements.update_with_events), records.parameters
        except NotSerializable:
            return super().update_with_events(changes, locked=locked)
        if earlier_events:
            self.append(earlier_events)
        changed = self._insert_events(sql, parameters, events)
        if locked and len(changed) != len(changes):
            raise self._stale_task()
        return changed

    def append(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        statements = table_sql_for(self._root, self._using, ())
        for batch in batches(events, batch_size or MAX_ROWS):
            try:
                records = recordset(statements.event_group(batch))
            except NotSerializable:
                super().append(batch)
            else:
                sql = records.into(statements.append_events)
                self._insert_events(sql, records.parameters, batch)

    def _insert_row_with_event(self, sql: str, parameters: Sequence[Any], event: TaskEvent) -> Any:
        for inserted in execute(connections[self._using], sql, parameters):
            self._set_keys(event, *inserted)
            return event.task_id
        raise KeyTaken

    def _set_keys(self, event: TaskEvent, task_key: Any, _: int, key: Any) -> None:
        event.task_id, event.pk = task_key, key
        event._state.adding, event._state.db = False, self._using

    def _insert_events(
        self, sql: str, parameters: Sequence[Any], events: Iterable[TaskEvent]
    ) -> set[Any]:
        """The keys of the tasks whose events were inserted."""
        rows = execute(connections[self._using], sql, parameters)
        keys = {(str(task), number): pk for task, number, pk in rows}
        inserted = set()
        for event in events:
            if (pk := keys.get((str(event.task_id), event.sequence))) is not None:
                event.pk, event._state.adding, event._state.db = pk, False, self._using
                inserted.add(event.task_id)
        return inserted

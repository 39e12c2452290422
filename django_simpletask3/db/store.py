"""Stores: how each database writes many rows, and the events that change them, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connections

from ..batches import batches
from ..exceptions import StaleTask
from ..ledger.event import TaskEvent, events_of
from ..ledger.task_row import TaskRow, all_rows
from .postgresql.json_parameters import NotSerializable, needs_django

#: Changes that ``update_with_events`` writes in one statement.
_BATCH_SIZE = 500

#: One row, unless it has changed.
_UPDATE_ONE = "UPDATE {rows} SET {new} WHERE {key} = %s AND {number} = %s"


class Change(NamedTuple):
    """New values of one row whose ``sequence`` was ``expected_sequence``, and their events.

    A row that is going to be deleted has no new values.
    """

    pk: Any
    expected_sequence: int
    columns: Mapping[str, Any]
    events: tuple[TaskEvent, ...]

    @property
    def event(self) -> TaskEvent:
        """The last event."""
        return self.events[-1]

    def then(self, later: Change) -> Change:
        """This change and ``later``, which was planned from its values, as one."""
        columns, events = {**self.columns, **later.columns}, self.events + later.events
        return self._replace(columns=columns, events=events)


class KeyTaken(Exception):
    """Another task has the unique key of a row; nothing was inserted, and no transaction failed."""


class Store:
    """Writes to the tables of one task model with statements that every database knows."""

    #: Whether rows are updated and inserted together with their events, in one statement.
    has_batch_statements = False

    def __init__(self, root: type[TaskRow], using: str) -> None:
        self._root = root
        self._using = using

    def insert(
        self,
        rows: Sequence[Mapping[str, Any]],
        events: Sequence[TaskEvent],
        batch_size: int | None = None,
    ) -> list[Any]:
        """Insert new ``rows``, all of the same columns, with the first event of each.

        Returns the new keys, in order. One row and its event are inserted by one statement. Raises
        NotSerializable, and inserts nothing, for values that only Django can adapt; KeyTaken for
        one row whose unique key is taken. Only if the store ``has_batch_statements``.
        """
        raise NotImplementedError

    def batches(self, changes: Iterable[Change]) -> list[Sequence[Change]]:
        """Divide ``changes`` into what ``update_with_events`` writes in one statement each."""
        by_columns: dict[tuple[str, ...], list[Change]] = {}
        for change in changes:
            by_columns.setdefault(tuple(sorted(change.columns)), []).append(change)
        groups = by_columns.values()
        return [batch for group in groups for batch in batches(group, _BATCH_SIZE)]

    def update_with_events(self, changes: Sequence[Change], *, locked: bool = False) -> set[Any]:
        """Apply ``changes``, all of the same columns, and insert their events.

        Returns the keys of the rows that were changed. Rows that have changed, or that another
        transaction has locked, are left out; so are all if they cannot be written in one
        statement. With ``locked`` this transaction has locked the rows: then all are written, and
        StaleTask is raised, and the transaction must be rolled back, if one has changed.
        """
        if not locked:
            return set()
        if changes[0].columns and self._update(changes) != len(changes):
            raise self._stale_task()
        self.append([event for change in changes for event in change.events])
        return {change.pk for change in changes}

    def append(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        """Insert ``events`` of rows that exist, or existed; sets their keys."""
        events_of(self._root, self._using).bulk_create(events, batch_size=batch_size)

    def _stale_task(self) -> StaleTask:
        return StaleTask(f"Tasks of {self._root._meta.label} were changed meanwhile; try again.")

    def _update(self, changes: Sequence[Change]) -> int:
        """Update rows that have not changed; their number."""
        get_field: Any = self._root._meta.get_field
        fields = {name: get_field(name) for name in changes[0].columns}
        try:
            rows = [self._parameters(fields, change) for change in changes]
        except NotSerializable:
            return self._update_one_by_one(changes)
        quote: Any = connections[self._using].ops.quote_name
        table: Any = self._root._meta
        sql = _UPDATE_ONE.format(
            rows=quote(table.db_table),
            new=", ".join(f"{quote(field.column)} = %s" for field in fields.values()),
            key=quote(table.pk.column),
            number=quote(table.get_field("sequence").column),
        )
        with connections[self._using].cursor() as cursor:
            cursor.executemany(sql, rows)
            return int(cursor.rowcount)

    def _parameters(self, fields: Mapping[str, Any], change: Change) -> list[Any]:
        connection = connections[self._using]
        row = []
        for name, field in fields.items():
            value = change.columns[name]
            if needs_django(field, value):
                raise NotSerializable
            row.append(field.get_db_prep_save(value, connection))
        key: Any = self._root._meta.pk
        return [*row, key.get_db_prep_save(change.pk, connection), change.expected_sequence]

    def _update_one_by_one(self, changes: Sequence[Change]) -> int:
        rows = all_rows(self._root, self._using)
        return sum(
            rows.filter(pk=change.pk, sequence=change.expected_sequence).update(**change.columns)
            for change in changes
        )

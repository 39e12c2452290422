"""Stores: how each database writes many rows, and the events that change them, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connections, models

from ..batches import batches
from ..ledger.event import TaskEvent, events_of
from ..ledger.task_row import TaskRow
from .postgresql.json_parameters import NotSerializable, needs_django

#: Changes that ``update_with_events`` writes in one statement.
_BATCH_SIZE = 500

#: One row, unless it has changed.
_UPDATE_ONE = "UPDATE {rows} SET {new} WHERE {key} = %s AND {number} = %s"


class RowChange(NamedTuple):
    """New values of one row whose ``sequence`` was ``expected_sequence``."""

    pk: Any
    expected_sequence: int
    columns: Mapping[str, Any]


class Change(NamedTuple):
    """A RowChange, and the event that gives the values."""

    pk: Any
    expected_sequence: int
    columns: Mapping[str, Any]
    event: TaskEvent


class Store:
    """Writes to the tables of one task model with statements that every database knows."""

    #: Whether rows are updated and inserted together with their events, in one statement.
    has_batch_statements = False

    def __init__(self, root: type[TaskRow], using: str) -> None:
        self._root = root
        self._using = using

    def batches(self, changes: Sequence[Change]) -> list[list[Change]]:
        """Divide ``changes`` into what ``update_with_events`` writes in one statement each."""
        by_columns: dict[tuple[str, ...], list[Change]] = {}
        for change in changes:
            by_columns.setdefault(tuple(sorted(change.columns)), []).append(change)
        groups = by_columns.values()
        return [list(batch) for group in groups for batch in batches(group, _BATCH_SIZE)]

    def update(self, changes: Sequence[RowChange | Change]) -> int:
        """Apply ``changes``, all of the same columns, to unchanged rows; their number."""
        fields: list[Any] = [self._root._meta.get_field(name) for name in changes[0].columns]
        try:
            rows = [self._parameters(fields, change) for change in changes]
        except NotSerializable:
            return self._update_one_by_one(changes)
        quote: Any = connections[self._using].ops.quote_name
        table: Any = self._root._meta
        sql = _UPDATE_ONE.format(
            rows=quote(table.db_table),
            new=", ".join(f"{quote(field.column)} = %s" for field in fields),
            key=quote(table.pk.column),
            number=quote(table.get_field("sequence").column),
        )
        with connections[self._using].cursor() as cursor:
            cursor.executemany(sql, rows)
            return int(cursor.rowcount)

    def append_events(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        """Insert ``events`` of rows that exist; sets their keys."""
        events_of(self._root, self._using).bulk_create(events, batch_size=batch_size)

    def insert(self, rows: Sequence[Mapping[str, object]], batch_size: int | None) -> list[object]:
        """Insert new ``rows``, all of the same columns; returns their new keys, in order.

        Raises NotSerializable, and inserts nothing, for values that only Django can adapt. Only if
        the store ``has_batch_statements``.
        """
        raise NotImplementedError

    def insert_with_event(self, row: Mapping[str, Any], event: TaskEvent) -> Any:
        """Insert one new ``row`` with its first ``event``, in one statement; returns its new key.

        Raises as ``insert``.
        """
        raise NotImplementedError

    def update_with_events(self, changes: Sequence[Change]) -> set[Any]:
        """Apply ``changes`` to the rows that are unchanged and not locked, and insert their events.

        Returns the keys of these rows. Only if the store ``has_batch_statements``.
        """
        raise NotImplementedError

    def _parameters(self, fields: Iterable[Any], change: RowChange | Change) -> list[Any]:
        connection = connections[self._using]
        row = []
        for field, value in zip(fields, change.columns.values(), strict=True):
            if needs_django(field, value):
                raise NotSerializable
            row.append(field.get_db_prep_save(value, connection))
        key: Any = self._root._meta.pk
        return [*row, key.get_db_prep_save(change.pk, connection), change.expected_sequence]

    def _update_one_by_one(self, changes: Sequence[RowChange | Change]) -> int:
        # Not a manager: a task's own managers may hide rows.
        rows: Any = models.QuerySet(self._root, using=self._using)
        return sum(
            rows.filter(pk=change.pk, sequence=change.expected_sequence).update(**change.columns)
            for change in changes
        )

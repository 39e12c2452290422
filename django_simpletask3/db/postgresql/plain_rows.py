"""The statements that insert plain tasks: what all of them have in common stands in the SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.db import connections

from ...batches import batches
from ...ledger.event import event_model_of
from ...ledger.task_row import TaskRow
from ...states import EventKind
from ..store import KeyTaken
from .cursors import execute
from .json_parameters import MAX_ROWS, Column, is_json_safe, recordset, serializer_for
from .sql import parameter_serializer

#: One row and its first event. A parameter per value: PostgreSQL plans that faster than JSON.
_INSERT_ONE = """
WITH task AS (
  INSERT INTO {table} ({columns}) VALUES ({values}) RETURNING {key} AS pk
)
INSERT INTO {event_table} ({event_columns}) SELECT {event_values} FROM task
RETURNING {task_column}
"""

#: Many rows and the first event of each. The keys are returned in the order of the parameters,
#: which is that in which the rows are inserted.
_INSERT_MANY = """
WITH task AS (
  INSERT INTO {table} ({columns}) SELECT {varying_values} FROM ({{params}}) AS params
  RETURNING {key} AS pk
)
INSERT INTO {event_table} ({event_columns}) SELECT {event_values} FROM task
RETURNING {task_column}
"""

#: Names of columns and their values.
Constants = tuple[tuple[str, Any], ...]


def constants_of(columns: Mapping[str, Any], names: Iterable[str]) -> Constants:
    """Those of the columns ``names`` whose values can stand in a statement."""
    return tuple((name, columns[name]) for name in names if _is_constant(columns[name]))


def _is_constant(value: object) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value is None or value == "" or is_number or isinstance(value, EventKind)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(int(value)) if isinstance(value, int) else f"'{value}'"


class PlainRows:
    """Inserts rows of one table with their first events.

    The first event decides on the columns ``planned``; ``constants`` and ``event_constants`` are
    the values that are the same in all rows, and in all events.
    """

    def __init__(
        self,
        root: type[TaskRow],
        using: str,
        planned: tuple[str, ...],
        constants: Constants,
        event_constants: Constants,
    ) -> None:
        rows: Any = root._meta
        events: Any = event_model_of(root)._meta
        quote: Any = connections[using].ops.quote_name
        literals = {name: _literal(value) for name, value in constants}
        event_literals = {name: _literal(value) for name, value in event_constants}
        fields = {field.attname: field for field in rows.concrete_fields if field is not rows.pk}
        event_fields = [field for field in events.concrete_fields if field is not events.pk]
        own = [field for name, field in fields.items() if name not in planned]
        self._own_columns = [
            Column(
                f"c{number}",
                field.attname,
                str(field.db_type(connections[using])),
                serializer_for(field, using),
                is_json_safe(field),
            )
            for number, field in enumerate(own)
        ]
        self._serializers = {
            name: parameter_serializer(field, using)
            for name, field in fields.items()
            if name not in literals
        }
        self._shared = [name for name in self._serializers if name in planned]
        self._event_serializers = [
            (field.attname, parameter_serializer(field, using))
            for field in event_fields
            if field.attname not in event_literals and field.attname != "task_id"
        ]
        values = dict.fromkeys(fields, "%s") | literals
        own_values = {column.name: f"params.{column.alias}" for column in self._own_columns}
        event_values = {
            **{field.attname: "%s" for field in event_fields},
            **event_literals,
            "task_id": "task.pk",
        }
        names = {
            "table": quote(rows.db_table),
            "columns": ", ".join(quote(field.column) for field in fields.values()),
            "values": ", ".join(values.values()),
            "varying_values": ", ".join((values | own_values).values()),
            "key": quote(rows.pk.column),
            "event_table": quote(events.db_table),
            "event_columns": ", ".join(quote(field.column) for field in event_fields),
            "event_values": ", ".join(event_values[field.attname] for field in event_fields),
            "task_column": quote(events.get_field("task").column),
        }
        self._insert_one, self._insert_many = (
            _INSERT_ONE.format(**names),
            _INSERT_MANY.format(**names),
        )

    def insert(self, connection: Any, row: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
        """Insert one row, by attname, and its event; returns the key.

        Raises NotSerializable, and inserts nothing, for a value that only Django can adapt;
        KeyTaken if a trigger has left out the row.
        """
        parameters = [serialize(row[name]) for name, serialize in self._serializers.items()]
        for name, serialize in self._event_serializers:
            parameters.append(serialize(event[name]))
        for (key,) in execute(connection, self._insert_one, parameters):
            return key
        raise KeyTaken

    def insert_all(
        self,
        connection: Any,
        rows: Sequence[Mapping[str, Any]],
        planned: Mapping[str, Any],
        event: Mapping[str, Any],
        batch_size: int | None = None,
    ) -> list[Any]:
        """Insert rows that share the ``planned`` columns; the keys, in order. Raises as ``insert``.

        More than 1000 of them, or than ``batch_size``, are several statements.
        """
        shared = [self._serializers[name](planned[name]) for name in self._shared]
        of_event = [serialize(event[name]) for name, serialize in self._event_serializers]
        # All, before the first is inserted.
        recordsets = [
            recordset((self._own_columns, batch)) for batch in batches(rows, batch_size or MAX_ROWS)
        ]
        keys: list[Any] = []
        with connection.cursor() as cursor:
            for records in recordsets:
                parameters = [*shared, *records.parameters, *of_event]
                cursor.execute(records.into(self._insert_many), parameters)
                keys += [key for (key,) in cursor.fetchall()]
        return keys


@lru_cache(maxsize=1000)
def plain_rows_for(
    root: type[TaskRow],
    using: str,
    planned: tuple[str, ...],
    constants: Constants,
    event_constants: Constants,
) -> PlainRows:
    """The statements for the table of ``root`` in ``using``, as PlainRows has them."""
    return PlainRows(root, using, planned, constants, event_constants)

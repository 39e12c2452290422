"""The statements that write rows and events on PostgreSQL, and how their values are serialized."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from django.db import connections, models

from ...ledger.columns import is_saved_unchanged
from ...ledger.event import TaskEvent, event_model_of
from ...ledger.task_row import TaskRow, has_unique_key
from ..store import Change
from .json_parameters import Column, RowGroup, Serializer, is_json_safe, serializer_for

# A batch is one parameter of JSON, in the place of {{params}}: to build it costs a third of what
# arrays or lists of values cost, and the statement does not grow with the rows.

# Rows are looked up by their keys (ANY): for a join alone the planner, which expects a hundred rows
# of JSON, would read all of a small table.

# Rows are inserted, and returned, in the order of the parameters: events find theirs by the number.
_INSERT_WITH_EVENTS = """
WITH params AS MATERIALIZED (
  SELECT *, row_number() OVER () AS number FROM ({{params}}) AS unnumbered
), inserted AS (
  INSERT INTO {table} ({columns}) SELECT {values} FROM params RETURNING {key} AS pk
), task AS (
  SELECT pk, row_number() OVER () AS number FROM inserted
)
INSERT INTO {event_table} ({event_columns})
SELECT {first_event_values} FROM params JOIN task ON task.number = params.number
ORDER BY params.number
RETURNING {returned}
"""

_APPEND_EVENTS = """
INSERT INTO {event_table} ({event_columns})
SELECT {event_values} FROM ({{params}}) AS params
RETURNING {returned}
"""

_INSERT_WITH_EVENT = """
WITH task AS (
  INSERT INTO {table} ({columns}) VALUES ({placeholders}) {unless_taken} RETURNING {key} AS pk
)
INSERT INTO {event_table} ({event_columns}) SELECT {event_placeholders} FROM task
RETURNING {returned}
"""

# Rows are locked in the order of their keys, as everywhere: two batches cannot wait for each other.
_UPDATE_WITH_EVENTS = """
WITH params AS MATERIALIZED (
  {{params}}
), locked AS MATERIALIZED (
  SELECT task.{key} AS pk FROM {table} AS task JOIN params ON task.{key} = params.pk
  WHERE task.{key} = ANY (ARRAY(SELECT pk FROM params))
    AND task.{sequence_column} = params.expected_sequence
  ORDER BY task.{key} FOR NO KEY UPDATE OF task SKIP LOCKED
), updated AS (
  UPDATE {table} AS task SET {assignments} FROM params
  WHERE task.{key} = params.pk AND task.{key} = ANY (ARRAY(SELECT pk FROM locked))
  RETURNING task.{key} AS pk
)
INSERT INTO {event_table} ({event_columns})
SELECT {event_values} FROM params JOIN updated ON updated.pk = params.pk
RETURNING {returned}
"""

# A parameter per value, without JSON: PostgreSQL plans that in half the time.
_UPDATE_ONE_WITH_EVENTS = """
WITH locked AS MATERIALIZED (
  SELECT {key} AS pk FROM {table} WHERE {key} = %s AND {sequence_column} = %s
  FOR NO KEY UPDATE SKIP LOCKED
), task AS (
  UPDATE {table} AS task SET {assigned_placeholders} FROM locked WHERE task.{key} = locked.pk
  RETURNING task.{key} AS pk
)
{{inserts}}
"""

_INSERT_ONE = """
INSERT INTO {event_table} ({event_columns}) SELECT {event_placeholders} FROM task
RETURNING {returned}
"""


class TableSql:
    """Statements for one task table and its event table that write the columns ``names``.

    Each is formatted when it is first used.
    """

    def __init__(self, root: type[TaskRow], using: str, names: tuple[str, ...]) -> None:
        self._rows: Any = root._meta
        self._events: Any = event_model_of(root)._meta
        self._using = using
        self._fields: dict[str, Any] = {name: self._rows.get_field(name) for name in names}
        self._event_fields: list[Any] = [
            field
            for field in self._events.concrete_fields
            if field is not self._events.pk and not field.generated
        ]
        self._updates_of_one: dict[int, str] = {}

    @cached_property
    def insert_with_events(self) -> str:
        """Insert rows, whose keys the database generates, and the first event of each.

        Returns as ``append_events``, in the order of the parameters.
        """
        return _INSERT_WITH_EVENTS.format(**self._names)

    @cached_property
    def append_events(self) -> str:
        """Insert events of rows that exist; returns task, sequence and key of each."""
        return _APPEND_EVENTS.format(**self._names)

    @cached_property
    def insert_with_event(self) -> str:
        """Insert one row and its first event; returns as ``append_events``.

        Inserts and returns nothing if another row has its unique key.
        """
        return _INSERT_WITH_EVENT.format(**self._names)

    @cached_property
    def update_with_events(self) -> str:
        """Update unlocked rows that have the expected sequence, and insert an event for each."""
        return _UPDATE_WITH_EVENTS.format(**self._names)

    def update_one_with_events(self, count: int) -> str:
        """``update_with_events`` of one row, with ``count`` events."""
        if count not in self._updates_of_one:
            self._updates_of_one[count] = _update_one(count, self._names)
        return self._updates_of_one[count]

    @cached_property
    def _names(self) -> dict[str, str]:
        quote: Any = connections[self._using].ops.quote_name
        columns = [quote(field.column) for field in self._fields.values()]
        task, sequence = map(self._events.get_field, ("task", "sequence"))
        returned = (task, sequence, self._events.pk)
        return {
            "table": quote(self._rows.db_table),
            "unless_taken": self._unless_taken,
            "key": quote(self._rows.pk.column),
            "sequence_column": quote(self._rows.get_field("sequence").column),
            "columns": ", ".join(columns),
            "values": ", ".join(f"params.c{n}" for n in range(len(columns))),
            "placeholders": ", ".join("%s" for _ in columns),
            "assignments": ", ".join(f"{name} = params.c{n}" for n, name in enumerate(columns)),
            "assigned_placeholders": ", ".join(f"{name} = %s" for name in columns),
            "event_table": quote(self._events.db_table),
            "event_columns": ", ".join(quote(field.column) for field in self._event_fields),
            "event_values": ", ".join(f"params.e{n}" for n in range(len(self._event_fields))),
            "first_event_values": ", ".join(
                "task.pk" if field.name == "task" else f"params.e{n}"
                for n, field in enumerate(self._event_fields)
            ),
            "event_placeholders": ", ".join(
                "task.pk" if field.name == "task" else "%s" for field in self._event_fields
            ),
            "returned": ", ".join(quote(field.column) for field in returned),
        }

    @property
    def _unless_taken(self) -> str:
        if "unique_key" not in self._fields or not has_unique_key(self._rows.model):
            return ""
        column = connections[self._using].ops.quote_name(self._fields["unique_key"].column)
        return f"ON CONFLICT ({column}) DO NOTHING"

    def change_groups(self, changes: Sequence[Change]) -> list[RowGroup]:
        """Keys, expected sequences and columns of rows, for ``recordset``."""
        keys = [{"pk": c.pk, "expected_sequence": c.expected_sequence} for c in changes]
        return [(self._key_columns, keys), self.row_group([change.columns for change in changes])]

    def row_group(self, rows: Sequence[Mapping[str, object]]) -> RowGroup:
        """Columns of rows, for ``recordset``."""
        return self._columns, rows

    def event_group(self, events: Sequence[TaskEvent]) -> RowGroup:
        """Columns of events, for ``recordset``."""
        return self._event_columns, [self._event_values(event) for event in events]

    def first_event_group(self, events: Sequence[TaskEvent]) -> RowGroup:
        """Columns of events whose rows are inserted with them: they have no key yet."""
        columns, rows = self.event_group(events)
        return [column for column in columns if column.name != "task_id"], rows

    def change_parameters(self, change: Change) -> list[object]:
        """The parameters of ``update_one_with_events``."""
        key, sequence = self._key_columns
        return [
            key.serialize(change.pk),
            sequence.serialize(change.expected_sequence),
            *self.row_parameters(change.columns, change.events),
        ]

    def row_parameters(self, row: Mapping[str, Any], events: Iterable[TaskEvent]) -> list[Any]:
        """The parameters of ``insert_with_event``, which has one event."""
        parameters = [serialize(row[name]) for name, serialize in self._serializers]
        for event in events:
            values = self._event_values(event)
            parameters += [serialize(values[name]) for name, serialize in self._event_serializers]
        return parameters

    def _event_values(self, event: TaskEvent) -> Mapping[str, Any]:
        fields = self._computed_event_fields
        computed = {field.attname: field.pre_save(event, True) for field in fields}
        return {**vars(event), **computed} if computed else vars(event)

    @cached_property
    def _computed_event_fields(self) -> list[Any]:
        """The columns of a user's event model that compute a value when they are saved."""
        return [field for field in self._event_fields if not is_saved_unchanged(field)]

    @cached_property
    def _key_columns(self) -> tuple[Column, Column]:
        sequence = self._rows.get_field("sequence")
        return (
            self._column("pk", "pk", self._rows.pk),
            self._column("expected_sequence", "expected_sequence", sequence),
        )

    @cached_property
    def _columns(self) -> list[Column]:
        return [self._column(f"c{n}", name, f) for n, (name, f) in enumerate(self._fields.items())]

    @cached_property
    def _event_columns(self) -> list[Column]:
        return [self._column(f"e{n}", f.attname, f) for n, f in enumerate(self._event_fields)]

    def _column(self, alias: str, name: str, field: Any) -> Column:
        connection = connections[self._using]
        # The type of a key that the database generates is that of a number.
        db_type = field.rel_db_type(connection) if field.primary_key else field.db_type(connection)
        serialize = serializer_for(field, self._using)
        return Column(alias, name, str(db_type), serialize, is_json_safe(field))

    @cached_property
    def _serializers(self) -> list[tuple[str, Serializer]]:
        return [(name, parameter_serializer(f, self._using)) for name, f in self._fields.items()]

    @cached_property
    def _event_serializers(self) -> list[tuple[str, Serializer]]:
        return [
            (field.attname, parameter_serializer(field, self._using))
            for field in self._event_fields
            if field.name != "task"
        ]


def _update_one(count: int, names: Mapping[str, str]) -> str:
    """``_UPDATE_ONE_WITH_EVENTS`` with ``count`` events: each is inserted by a part of its own."""
    insert = _INSERT_ONE.format(**names)
    inserts = insert
    if count > 1:
        parts = [f", event{n} AS ({insert})" for n in range(count)]
        tables = [f"TABLE event{n}" for n in range(count)]
        inserts = "".join(parts) + " UNION ALL ".join(tables)
    return _UPDATE_ONE_WITH_EVENTS.format(**names).replace("{inserts}", inserts)


@lru_cache(maxsize=1000)
def table_sql_for(root: type[TaskRow], using: str, names: tuple[str, ...]) -> TableSql:
    """The statements for the table of ``root`` in ``using`` that write the columns ``names``."""
    return TableSql(root, using, names)


def parameter_serializer(field: object, using: str) -> Serializer:
    """Serialize values as parameters of their own: those of a JSON column as text."""
    serialize = serializer_for(field, using)
    if not isinstance(field, models.JSONField):
        return serialize
    return lambda value: (
        None if (json_value := serialize(value)) is None else json.dumps(json_value)
    )

"""What PostgreSQL is told of rows and events: the statements, and the words for their values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, models

from ...ledger.digests import halves
from ...ledger.event import TaskEvent, content_of, event_model_of
from ...states import Status
from ..store import Change
from .json_parameters import Column, RowGroup, Serializer, is_json_safe, serializer_for

if TYPE_CHECKING:
    from ...ledger.task_row import TaskRow

# PostgreSQL is told a whole batch in JSON, in the place of {told}: to make that costs a third of
# what arrays or lists of values cost, and the statement does not grow with them.

# Rows are looked up by their keys (ANY): a join alone would read all of a small table, as the
# planner takes what JSON tells for a hundred rows.

#: All rows of a batch that nobody has moved.
_UPDATE = """
WITH told AS MATERIALIZED (
  {{told}}
)
UPDATE {rows} AS task SET {new} FROM told
WHERE task.{key} = told.pk AND task.{key} = ANY (ARRAY(SELECT pk FROM told))
  AND task.{number} = told.unmoved
"""

#: Events of rows that somebody else writes.
_APPEND_EVENTS = """
INSERT INTO {events} ({event_names})
SELECT {event_values} FROM ({{told}}) AS told
RETURNING {returned}
"""

#: Rows that nobody has moved and nobody has locked, with an event each. They are locked in the
#: order of their keys, as by everybody: two batches cannot wait for each other.
_UPDATE_WITH_EVENTS = """
WITH told AS MATERIALIZED (
  {{told}}
), held AS MATERIALIZED (
  SELECT task.{key} AS pk FROM {rows} AS task JOIN told ON task.{key} = told.pk
  WHERE task.{key} = ANY (ARRAY(SELECT pk FROM told)) AND task.{number} = told.unmoved
  ORDER BY task.{key} FOR NO KEY UPDATE OF task SKIP LOCKED
), moved AS (
  UPDATE {rows} AS task SET {new} FROM told
  WHERE task.{key} = told.pk AND task.{key} = ANY (ARRAY(SELECT pk FROM held))
  RETURNING task.{key} AS pk
)
INSERT INTO {events} ({event_names})
SELECT {event_values} FROM told JOIN moved ON moved.pk = told.pk
RETURNING {returned}
"""

#: One such row, told value by value: that is planned in half the time.
_UPDATE_ONE_WITH_EVENT = """
WITH held AS MATERIALIZED (
  SELECT {key} AS pk FROM {rows} WHERE {key} = %s AND {number} = %s FOR NO KEY UPDATE SKIP LOCKED
), moved AS (
  UPDATE {rows} AS task SET {new_blanks} FROM held WHERE task.{key} = held.pk
  RETURNING task.{key} AS pk
)
INSERT INTO {events} ({event_names}) SELECT {event_blanks} FROM moved AS task RETURNING {returned}
"""

#: A row that is as its first event left it, and due, told value by value; it is read, too. Only the
#: row knows the digest before, so that the new one is made where it stands: a digest is the same in
#: JSON. That is over the text of the key, which must be the one that the row has: 2.5 is not 2.50.
_BEGIN = """
WITH held AS MATERIALIZED (
  SELECT {key} AS pk, {seal} AS previous FROM {rows}
  WHERE {key} = %s AND {key}::text COLLATE "C" = %s AND {is_enqueued}
    AND ({run_after} IS NULL OR {run_after} <= %s)
  FOR NO KEY UPDATE SKIP LOCKED
), moved AS (
  UPDATE {rows} AS task
  SET {new_blanks}, {seal} = encode(sha256(convert_to(%s || held.previous || %s, 'UTF8')), 'hex')
  FROM held WHERE task.{key} = held.pk
  RETURNING {{read}}
), told AS (
  INSERT INTO {events} ({event_names}) SELECT {event_blanks_begun} FROM moved AS task
  RETURNING {event_key} AS pk
)
SELECT {{read}}, told.pk FROM moved AS task, told
"""

#: New rows, whose keys the database counts.
_INSERT = """
INSERT INTO {rows} ({row_names})
SELECT {row_values} FROM ({{told}}) AS told
RETURNING {key}
"""

#: A new row and its first event; the keys of both.
_INSERT_WITH_EVENT = """
WITH born AS (INSERT INTO {rows} ({row_names}) VALUES ({row_blanks}) RETURNING {key} AS pk)
INSERT INTO {events} ({event_names}) SELECT {event_blanks} FROM born AS task RETURNING {returned}
"""


#: What a row says, beside its digest, to which nothing has happened after its first event.
ENQUEUED: dict[str, int | None] = {
    "sequence": 1,
    "status": Status.PENDING,
    "attempt": 0,
    "start_time": None,
    "done_time": None,
    "success": None,
    "result_time": None,
}


class TableSql(NamedTuple):
    """Statements of PostgreSQL for changes of the same columns, and who says their values."""

    update: str
    insert: str
    append_events: str
    insert_with_event: str
    update_with_events: str
    update_one_with_event: str
    begin: str
    key_columns: Sequence[Column]
    columns: Sequence[Column]
    event_columns: Sequence[Column]
    column_serializers: Sequence[tuple[str, Serializer]]
    event_column_serializers: Sequence[tuple[str, Serializer]]

    def change_groups(self, changes: Sequence[Change]) -> list[RowGroup]:
        """What statements are told of rows that are there."""
        keys = [{"pk": change.pk, "unmoved": change.expected_sequence} for change in changes]
        return [(self.key_columns, keys), self.row_group([change.columns for change in changes])]

    def row_group(self, rows: Sequence[Mapping[str, Any]]) -> RowGroup:
        """What statements are told of the columns of rows."""
        return self.columns, rows

    def event_group(self, events: Sequence[TaskEvent]) -> RowGroup:
        """What statements are told of events."""
        return self.event_columns, [vars(event) for event in events]

    def parameters(self, row: Mapping[str, Any], event: TaskEvent, **keys: Any) -> list[Any]:
        """What a statement is told, value by value, of the columns of a row and of its event.

        ``keys`` are told first, of a row that is there.
        """
        values = vars(event)
        return [
            *(
                column.serialize(keys[column.name])
                for column in self.key_columns
                if column.name in keys
            ),
            *(serialize(row[name]) for name, serialize in self.column_serializers),
            *(serialize(values[name]) for name, serialize in self.event_column_serializers),
        ]

    def begun(self, change: Change, event: TaskEvent) -> list[Any]:
        """What ``begin`` is told: as ``alone``, but for the digest, which is made of two halves."""
        values = vars(event)
        head, tail = halves(**content_of(event))
        return [
            self.key_columns[0].serialize(change.pk),
            str(event.task_id),
            event.event_time,
            *(serialize(change.columns[name]) for name, serialize in self.column_serializers),
            f'{head}"',
            f'"{tail}',
            *(
                serialize(values[name])
                for name, serialize in self.event_column_serializers
                if name != "digest"
            ),
        ]


@lru_cache(maxsize=1000)
def table_sql_for(
    root: type[TaskRow], using: str, names: tuple[str, ...], with_events: bool
) -> TableSql:
    """How to tell the tables of ``root`` of these columns of rows, of events, or of both."""
    rows: Any = root._meta
    events: Any = event_model_of(root)._meta
    quote: Any = connections[using].ops.quote_name
    fields = {f"c{n}": rows.get_field(name) for n, name in enumerate(names)}
    event_table_fields = [
        field for field in events.concrete_fields if field is not events.pk and not field.generated
    ]
    event_fields = (
        {f"e{n}": field for n, field in enumerate(event_table_fields)} if with_events else {}
    )
    returned = (events.get_field("task"), events.get_field("sequence"), events.pk)
    columns = {field.name: quote(field.column) for field in rows.concrete_fields}
    of_row = {"task": quote(rows.pk.column), "digest": columns["digest"]}
    substitutions = {
        "rows": quote(rows.db_table),
        "key": quote(rows.pk.column),
        "number": quote(rows.get_field("sequence").column),
        "row_names": ", ".join(quote(field.column) for field in fields.values()),
        "row_values": ", ".join(f"told.{alias}" for alias in fields),
        "new": ", ".join(
            f"{quote(field.column)} = told.{alias}" for alias, field in fields.items()
        ),
        "events": quote(events.db_table),
        "event_names": ", ".join(quote(field.column) for field in event_fields.values()),
        "event_values": ", ".join(f"told.{alias}" for alias in event_fields),
        "row_blanks": ", ".join("%s" for _ in fields),
        "new_blanks": ", ".join(f"{quote(field.column)} = %s" for field in fields.values()),
        "event_blanks": ", ".join(
            "task.pk" if field.name == "task" else "%s" for field in event_fields.values()
        ),
        "event_blanks_begun": ", ".join(
            f"task.{of_row[field.name]}" if field.name in of_row else "%s"
            for field in event_fields.values()
        ),
        "event_key": quote(events.pk.column),
        "returned": ", ".join(quote(field.column) for field in returned),
        "is_enqueued": " AND ".join(
            f"{columns[name]} IS NULL" if value is None else f"{columns[name]} = {value:d}"
            for name, value in ENQUEUED.items()
        ),
        "run_after": columns["run_after"],
        "seal": columns["digest"],
    }
    return TableSql(
        update=_UPDATE.format(**substitutions),
        insert=_INSERT.format(**substitutions),
        append_events=_APPEND_EVENTS.format(**substitutions),
        insert_with_event=_INSERT_WITH_EVENT.format(**substitutions),
        update_with_events=_UPDATE_WITH_EVENTS.format(**substitutions),
        update_one_with_event=_UPDATE_ONE_WITH_EVENT.format(**substitutions),
        begin=_BEGIN.format(**substitutions),
        key_columns=[
            _build_column("pk", "pk", rows.pk, using),
            _build_column("unmoved", "unmoved", rows.get_field("sequence"), using),
        ],
        columns=[
            _build_column(alias, name, field, using)
            for (alias, field), name in zip(fields.items(), names, strict=True)
        ],
        event_columns=[
            _build_column(alias, field.attname, field, using)
            for alias, field in event_fields.items()
        ],
        column_serializers=[
            (name, _parameter_serializer(field, using))
            for name, field in zip(names, fields.values(), strict=True)
        ],
        event_column_serializers=[
            (field.attname, _parameter_serializer(field, using))
            for field in event_fields.values()
            if field.name != "task"
        ],
    )


def _build_column(alias: str, name: str, field: Any, using: str) -> Column:
    return Column(
        alias, name, _column_type(field, using), serializer_for(field, using), is_json_safe(field)
    )


def _parameter_serializer(field: Any, using: str) -> Serializer:
    """Says values that stand by themselves: what is JSON inside a text of JSON is a text then."""
    serialize = serializer_for(field, using)
    if not isinstance(field, models.JSONField):
        return serialize
    return lambda value: (
        None if (json_value := serialize(value)) is None else json.dumps(json_value)
    )


def _column_type(field: Any, using: str) -> str:
    connection = connections[using]
    # A key that the database counts is only a number where it is told.
    column_type = field.rel_db_type(connection) if field.primary_key else field.db_type(connection)
    return str(column_type)

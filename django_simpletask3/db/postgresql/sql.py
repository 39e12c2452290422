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
from .json_parameters import Column, Part, Speaker, is_plain, speaker

if TYPE_CHECKING:
    from ...ledger.task_row import TaskRow

# PostgreSQL is told a whole batch in JSON, in the place of {told}: to make that costs a third of
# what arrays or lists of values cost, and the statement does not grow with them.

# Rows are looked up by their keys (ANY): a join alone would read all of a small table, as the
# planner takes what JSON tells for a hundred rows.

#: All rows of a batch that nobody has moved.
_REWRITE = """
WITH told AS MATERIALIZED (
  {{told}}
)
UPDATE {rows} AS task SET {new} FROM told
WHERE task.{key} = told.pk AND task.{key} = ANY (ARRAY(SELECT pk FROM told))
  AND task.{number} = told.unmoved
"""

#: Events of rows that somebody else writes.
_APPEND = """
INSERT INTO {events} ({event_names})
SELECT {event_values} FROM ({{told}}) AS told
RETURNING {returned}
"""

#: Rows that nobody has moved and nobody has locked, with an event each. They are locked in the
#: order of their keys, as by everybody: two batches cannot wait for each other.
_MOVE = """
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
_MOVE_ONE = """
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
_BIRTH = """
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


class Plan(NamedTuple):
    """Statements of PostgreSQL for changes of the same columns, and who says their values."""

    rewrite: str
    insert: str
    append: str
    birth: str
    move: str
    move_one: str
    begin: str
    keys: Sequence[Column]
    columns: Sequence[Column]
    event_columns: Sequence[Column]
    columns_alone: Sequence[tuple[str, Speaker]]
    event_columns_alone: Sequence[tuple[str, Speaker]]

    def changes(self, changes: Sequence[Change]) -> list[Part]:
        """What statements are told of rows that are there."""
        keys = [{"pk": change.pk, "unmoved": change.unmoved} for change in changes]
        return [(self.keys, keys), self.rows([change.columns for change in changes])]

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Part:
        """What statements are told of the columns of rows."""
        return self.columns, rows

    def events(self, events: Sequence[TaskEvent]) -> Part:
        """What statements are told of events."""
        return self.event_columns, [vars(event) for event in events]

    def alone(self, row: Mapping[str, Any], event: TaskEvent, **keys: Any) -> list[Any]:
        """What a statement is told, value by value, of the columns of a row and of its event.

        ``keys`` are told first, of a row that is there.
        """
        values = vars(event)
        return [
            *(column.say(keys[column.name]) for column in self.keys if column.name in keys),
            *(say(row[name]) for name, say in self.columns_alone),
            *(say(values[name]) for name, say in self.event_columns_alone),
        ]

    def begun(self, change: Change, event: TaskEvent) -> list[Any]:
        """What ``begin`` is told: as ``alone``, but for the digest, which is made of two halves."""
        values = vars(event)
        head, tail = halves(**content_of(event))
        return [
            self.keys[0].say(change.pk),
            str(event.task_id),
            event.event_time,
            *(say(change.columns[name]) for name, say in self.columns_alone),
            f'{head}"',
            f'"{tail}',
            *(say(values[name]) for name, say in self.event_columns_alone if name != "digest"),
        ]


@lru_cache(maxsize=1000)
def plan_of(root: type[TaskRow], using: str, names: tuple[str, ...], with_events: bool) -> Plan:
    """How to tell the tables of ``root`` of these columns of rows, of events, or of both."""
    rows: Any = root._meta
    events: Any = event_model_of(root)._meta
    quote: Any = connections[using].ops.quote_name
    fields = {f"c{n}": rows.get_field(name) for n, name in enumerate(names)}
    written = [
        field for field in events.concrete_fields if field is not events.pk and not field.generated
    ]
    event_fields = {f"e{n}": field for n, field in enumerate(written)} if with_events else {}
    returned = (events.get_field("task"), events.get_field("sequence"), events.pk)
    columns = {field.name: quote(field.column) for field in rows.concrete_fields}
    of_row = {"task": quote(rows.pk.column), "digest": columns["digest"]}
    words = {
        "rows": quote(rows.db_table),
        "key": quote(rows.pk.column),
        "number": quote(rows.get_field("sequence").column),
        "row_names": ", ".join(quote(field.column) for field in fields.values()),
        "row_values": ", ".join(f"told.{word}" for word in fields),
        "new": ", ".join(f"{quote(field.column)} = told.{word}" for word, field in fields.items()),
        "events": quote(events.db_table),
        "event_names": ", ".join(quote(field.column) for field in event_fields.values()),
        "event_values": ", ".join(f"told.{word}" for word in event_fields),
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
    return Plan(
        rewrite=_REWRITE.format(**words),
        insert=_INSERT.format(**words),
        append=_APPEND.format(**words),
        birth=_BIRTH.format(**words),
        move=_MOVE.format(**words),
        move_one=_MOVE_ONE.format(**words),
        begin=_BEGIN.format(**words),
        keys=[
            _column("pk", "pk", rows.pk, using),
            _column("unmoved", "unmoved", rows.get_field("sequence"), using),
        ],
        columns=[
            _column(word, name, field, using)
            for (word, field), name in zip(fields.items(), names, strict=True)
        ],
        event_columns=[
            _column(word, field.attname, field, using) for word, field in event_fields.items()
        ],
        columns_alone=[
            (name, _alone(field, using)) for name, field in zip(names, fields.values(), strict=True)
        ],
        event_columns_alone=[
            (field.attname, _alone(field, using))
            for field in event_fields.values()
            if field.name != "task"
        ],
    )


def _column(word: str, name: str, field: Any, using: str) -> Column:
    return Column(word, name, _type(field, using), speaker(field, using), is_plain(field))


def _alone(field: Any, using: str) -> Speaker:
    """Says values that stand by themselves: what is JSON inside a text of JSON is a text then."""
    say = speaker(field, using)
    if not isinstance(field, models.JSONField):
        return say
    return lambda value: None if (word := say(value)) is None else json.dumps(word)


def _type(field: Any, using: str) -> str:
    connection = connections[using]
    # A key that the database counts is only a number where it is told.
    found = field.rel_db_type(connection) if field.primary_key else field.db_type(connection)
    return str(found)

"""Pens: how each database is told of many rows, and of the events that move them, at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, models

from .events import TaskEvent, event_model_of, events_of
from .spoken import Speaker, Unspeakable, is_put_by_django, speaker

if TYPE_CHECKING:
    from .models import SimpleTask

#: One row, if nobody has moved it.
_REWRITE_ONE = "UPDATE {rows} SET {new} WHERE {key} = %s AND {number} = %s"

# PostgreSQL is told a whole batch as one text of JSON: to make that costs a third of what arrays or
# lists of values cost, and the statement is the same for any number of rows.

#: All rows of a batch that nobody has moved.
_REWRITE = """
UPDATE {rows} AS task SET {new}
FROM json_to_recordset(%s::json) AS told({columns})
WHERE task.{key} = told.pk AND task.{number} = told.unmoved
"""

#: Events of rows that somebody else writes.
_APPEND = """
INSERT INTO {events} ({event_names})
SELECT {event_values} FROM json_to_recordset(%s::json) AS told({columns})
RETURNING {returned}
"""

#: Rows that nobody has moved and nobody has locked, with an event each. They are locked in the
#: order of their keys, as by everybody: two batches cannot wait for each other.
_MOVE = """
WITH told AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%s::json) AS told({columns})
), held AS MATERIALIZED (
  SELECT task.{key} AS pk FROM {rows} AS task JOIN told ON task.{key} = told.pk
  WHERE task.{number} = told.unmoved ORDER BY task.{key} FOR NO KEY UPDATE OF task SKIP LOCKED
), moved AS (
  UPDATE {rows} AS task SET {new} FROM told JOIN held ON held.pk = told.pk
  WHERE task.{key} = told.pk RETURNING task.{key} AS pk
)
INSERT INTO {events} ({event_names})
SELECT {event_values} FROM told JOIN moved ON moved.pk = told.pk
RETURNING {returned}
"""

#: New rows, whose keys the database counts.
_INSERT = """
INSERT INTO {rows} ({row_names})
SELECT {row_values} FROM json_to_recordset(%s::json) AS told({columns})
RETURNING {key}
"""

#: A new row and its first event; the keys of both.
_BIRTH = """
WITH born AS (INSERT INTO {rows} ({row_names}) VALUES ({row_blanks}) RETURNING {key} AS pk)
INSERT INTO {events} ({event_names}) SELECT {birth_values} FROM born RETURNING {task}, {event_key}
"""

#: How many rows one statement of PostgreSQL is told of: the text is held in memory, twice.
_MOST = 1000


class Change(NamedTuple):
    """New values of one row whose ``sequence`` was ``unmoved``, and the event that gives them."""

    pk: Any
    unmoved: int
    columns: Mapping[str, Any]
    event: TaskEvent | None = None


class Pen:
    """Writes to the tables of one task model in words that every database knows."""

    #: Whether rows are moved, and born, together with their events, in one statement.
    is_terse = False

    def __init__(self, root: type[SimpleTask], using: str) -> None:
        self._root = root
        self._using = using

    def rewrite(self, changes: Sequence[Change]) -> int:
        """Make ``changes``, all of the same columns, to the rows that nobody moved; how many."""
        fields: list[Any] = [self._root._meta.get_field(name) for name in changes[0].columns]
        try:
            rows = [self._row(fields, change) for change in changes]
        except Unspeakable:
            return self._rewrite_one_by_one(changes)
        quote: Any = connections[self._using].ops.quote_name
        table: Any = self._root._meta
        sql = _REWRITE_ONE.format(
            rows=quote(table.db_table),
            new=", ".join(f"{quote(field.column)} = %s" for field in fields),
            key=quote(table.pk.column),
            number=quote(table.get_field("sequence").column),
        )
        with connections[self._using].cursor() as cursor:
            cursor.executemany(sql, rows)
            return int(cursor.rowcount)

    def append(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        """Insert ``events``, whose tasks are there; they have their keys then."""
        events_of(self._root, self._using).bulk_create(events, batch_size=batch_size)

    def insert(self, rows: Sequence[Mapping[str, Any]], batch_size: int | None) -> list[Any]:
        """Insert new ``rows``, all of the same columns; the keys that they have got, in order.

        Raises Unspeakable, and nothing is inserted, for values that only Django knows to say. Only
        if the pen ``is_terse``.
        """
        raise NotImplementedError

    def bear(self, row: Mapping[str, Any], event: TaskEvent) -> Any:
        """Insert one new ``row`` with its first ``event``; the key that it has got.

        As ``insert``, in one statement.
        """
        raise NotImplementedError

    def move(self, changes: Sequence[Change]) -> set[Any]:
        """Make ``changes`` to the rows that nobody has moved or locked, and insert their events.

        Returns the keys of these rows. Only where the pen ``is_terse``.
        """
        raise NotImplementedError

    def _row(self, fields: Iterable[Any], change: Change) -> list[Any]:
        connection = connections[self._using]
        row = []
        for field, value in zip(fields, change.columns.values(), strict=True):
            if is_put_by_django(field, value):
                raise Unspeakable
            row.append(field.get_db_prep_save(value, connection))
        key: Any = self._root._meta.pk
        return [*row, key.get_db_prep_save(change.pk, connection), change.unmoved]

    def _rewrite_one_by_one(self, changes: Sequence[Change]) -> int:
        # Not a manager: a task's own managers may hide rows.
        rows: Any = models.QuerySet(self._root, using=self._using)
        return sum(
            rows.filter(pk=change.pk, sequence=change.unmoved).update(**change.columns)
            for change in changes
        )


class PostgresPen(Pen):
    """Says a whole batch in one statement."""

    is_terse = True

    def rewrite(self, changes: Sequence[Change]) -> int:
        names = tuple(changes[0].columns)
        plan = _plan(self._root, self._using, names, False)
        try:
            text = json.dumps([plan.told(change) for change in changes], allow_nan=False)
        except Unspeakable:
            return self._rewrite_one_by_one(changes)
        with connections[self._using].cursor() as cursor:
            cursor.execute(plan.rewrite, [text])
            return int(cursor.rowcount)

    def append(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        plan = _plan(self._root, self._using, (), True)
        size = batch_size or _MOST
        for start in range(0, len(events), size):
            some = events[start : start + size]
            try:
                text = json.dumps([plan.said(event) for event in some], allow_nan=False)
            except Unspeakable:
                super().append(some)
            else:
                self._insert(plan.append, text, some)

    def insert(self, rows: Sequence[Mapping[str, Any]], batch_size: int | None) -> list[Any]:
        plan = _plan(self._root, self._using, tuple(rows[0]), False)
        told = [plan.new(row) for row in rows]  # all, before the first is inserted
        size, keys = batch_size or _MOST, []
        with connections[self._using].cursor() as cursor:
            for start in range(0, len(told), size):
                text = json.dumps(told[start : start + size], allow_nan=False)
                cursor.execute(plan.insert, [text])
                keys += [key for (key,) in cursor.fetchall()]
        return keys

    def bear(self, row: Mapping[str, Any], event: TaskEvent) -> Any:
        plan = _plan(self._root, self._using, tuple(row), True)
        values = [say(row[name]) for name, say in plan.born]
        values += [say(vars(event)[name]) for name, say in plan.born_events]
        with connections[self._using].cursor() as cursor:
            cursor.execute(plan.birth, values)
            key, event.pk = cursor.fetchone()
        event._state.adding, event._state.db = False, self._using
        return key

    def move(self, changes: Sequence[Change]) -> set[Any]:
        names = tuple(changes[0].columns)
        plan = _plan(self._root, self._using, names, True)
        events = [change.event for change in changes if change.event is not None]
        try:
            told = [
                {**plan.told(change), **plan.said(event)}
                for change, event in zip(changes, events, strict=True)
            ]
        except Unspeakable:
            return set()
        return self._insert(plan.move, json.dumps(told, allow_nan=False), events)

    def _insert(self, sql: str, text: str, events: Iterable[TaskEvent]) -> set[Any]:
        """The keys of the tasks whose events were inserted."""
        with connections[self._using].cursor() as cursor:
            cursor.execute(sql, [text])
            keys = {(str(task), number): pk for task, number, pk in cursor.fetchall()}
        inserted = set()
        for event in events:
            if (pk := keys.get((str(event.task_id), event.sequence))) is not None:
                event.pk, event._state.adding, event._state.db = pk, False, self._using
                inserted.add(event.task_id)
        return inserted


class _Plan(NamedTuple):
    """Statements of PostgreSQL for changes of the same columns, and who says their values."""

    rewrite: str
    insert: str
    append: str
    birth: str
    move: str
    key: Speaker
    columns: Sequence[tuple[str, str, Speaker]]
    event_columns: Sequence[tuple[str, str, Speaker]]
    born: Sequence[tuple[str, Speaker]]
    born_events: Sequence[tuple[str, Speaker]]

    def told(self, change: Change) -> dict[str, Any]:
        """What a statement is told of a row."""
        row = {"pk": self.key(change.pk), "unmoved": change.unmoved}
        return {**row, **self.new(change.columns)}

    def new(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a statement is told of the columns of a row."""
        return {word: say(values[name]) for word, name, say in self.columns}

    def said(self, event: TaskEvent) -> dict[str, Any]:
        """What a statement is told of an event."""
        values = vars(event)
        return {word: say(values[name]) for word, name, say in self.event_columns}


@lru_cache(maxsize=1000)
def _plan(root: type[SimpleTask], using: str, names: tuple[str, ...], with_events: bool) -> _Plan:
    rows: Any = root._meta
    events: Any = event_model_of(root)._meta
    quote: Any = connections[using].ops.quote_name
    fields = {f"c{n}": rows.get_field(name) for n, name in enumerate(names)}
    written = [field for field in events.concrete_fields if field is not events.pk]
    event_fields = {f"e{n}": field for n, field in enumerate(written)} if with_events else {}
    keys = {"pk": rows.pk, "unmoved": rows.get_field("sequence")} if names else {}
    told = {**keys, **fields, **event_fields}
    returned = (events.get_field("task"), events.get_field("sequence"), events.pk)
    words = {
        "rows": quote(rows.db_table),
        "key": quote(rows.pk.column),
        "number": quote(rows.get_field("sequence").column),
        "row_names": ", ".join(quote(field.column) for field in fields.values()),
        "row_values": ", ".join(f"told.{word}" for word in fields),
        "new": ", ".join(f"{quote(field.column)} = told.{word}" for word, field in fields.items()),
        "columns": ", ".join(f"{word} {_type(field, using)}" for word, field in told.items()),
        "events": quote(events.db_table),
        "event_names": ", ".join(quote(field.column) for field in event_fields.values()),
        "event_values": ", ".join(f"told.{word}" for word in event_fields),
        "row_blanks": ", ".join("%s" for _ in fields),
        "birth_values": ", ".join(
            "born.pk" if field.name == "task" else "%s" for field in event_fields.values()
        ),
        "task": quote(events.get_field("task").column),
        "event_key": quote(events.pk.column),
        "returned": ", ".join(quote(field.column) for field in returned),
    }
    return _Plan(
        rewrite=_REWRITE.format(**words),
        insert=_INSERT.format(**words),
        append=_APPEND.format(**words),
        birth=_BIRTH.format(**words),
        move=_MOVE.format(**words),
        key=speaker(rows.pk, using),
        columns=[
            (word, name, speaker(field, using))
            for (word, field), name in zip(fields.items(), names, strict=True)
        ],
        event_columns=[
            (word, field.attname, speaker(field, using)) for word, field in event_fields.items()
        ],
        born=[
            (name, _alone(field, using)) for name, field in zip(names, fields.values(), strict=True)
        ],
        born_events=[
            (field.attname, _alone(field, using))
            for field in event_fields.values()
            if field.name != "task"
        ],
    )


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


_PENS: dict[str, type[Pen]] = {"postgresql": PostgresPen}


def pen_of(root: type[SimpleTask], using: str) -> Pen:
    """The pen for the table of ``root``, and for that of its events, in ``using``."""
    return _PENS.get(connections[using].vendor, Pen)(root, using)

"""Pens: how each database is told of many rows, and of the events that move them, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, models

from .events import TaskEvent, events_of
from .spoken import Unspeakable, is_put_by_django
from .statements import Change, plan_of
from .tellings import telling

if TYPE_CHECKING:
    from .instances import Reading
    from .task_row import TaskRow

T = TypeVar("T")

#: One row, if nobody has moved it.
_REWRITE_ONE = "UPDATE {rows} SET {new} WHERE {key} = %s AND {number} = %s"

#: How many rows one statement of PostgreSQL is told of: the text is held in memory, twice.
_MOST = 1000


class Pen:
    """Writes to the tables of one task model in words that every database knows."""

    #: Whether rows are moved, and born, together with their events, in one statement.
    is_terse = False

    def __init__(self, root: type[TaskRow], using: str) -> None:
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

    def begin(self, change: Change, reading: Reading) -> dict[str, Any] | None:
        """Make ``change`` to a row that is as its first event left it, and insert its event.

        Returns what the row says then, as ``reading`` names it; None, and nothing is done, if it is
        otherwise, not due or locked, or if the change cannot be said. The digest is not told: the
        event says it afterwards. Only where the pen ``is_terse``.
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
        plan = plan_of(self._root, self._using, names, False)
        try:
            told = telling(*plan.changes(changes))
        except Unspeakable:
            return self._rewrite_one_by_one(changes)
        with connections[self._using].cursor() as cursor:
            cursor.execute(told.put_into(plan.rewrite), told.texts)
            return int(cursor.rowcount)

    def append(self, events: Sequence[TaskEvent], batch_size: int | None = None) -> None:
        plan = plan_of(self._root, self._using, (), True)
        for some in _slices(events, batch_size):
            try:
                told = telling(plan.events(some))
            except Unspeakable:
                super().append(some)
            else:
                self._insert(told.put_into(plan.append), told.texts, some)

    def insert(self, rows: Sequence[Mapping[str, Any]], batch_size: int | None) -> list[Any]:
        plan = plan_of(self._root, self._using, tuple(rows[0]), False)
        # All, before the first is inserted.
        tellings = [telling(plan.rows(some)) for some in _slices(rows, batch_size)]
        keys: list[Any] = []
        with connections[self._using].cursor() as cursor:
            for told in tellings:
                cursor.execute(told.put_into(plan.insert), told.texts)
                keys += [key for (key,) in cursor.fetchall()]
        return keys

    def bear(self, row: Mapping[str, Any], event: TaskEvent) -> Any:
        plan = plan_of(self._root, self._using, tuple(row), True)
        with connections[self._using].cursor() as cursor:
            cursor.execute(plan.birth, plan.alone(row, event))
            key, _, event.pk = cursor.fetchone()
        event._state.adding, event._state.db = False, self._using
        return key

    def move(self, changes: Sequence[Change]) -> set[Any]:
        names = tuple(changes[0].columns)
        plan = plan_of(self._root, self._using, names, True)
        events = [change.event for change in changes if change.event is not None]
        try:
            if len(changes) == 1:
                [change] = changes
                [event] = events
                values = plan.alone(change.columns, event, pk=change.pk, unmoved=change.unmoved)
                return self._insert(plan.move_one, values, events)
            told = telling(*plan.changes(changes), plan.events(events))
        except Unspeakable:
            return set()
        return self._insert(told.put_into(plan.move), told.texts, events)

    def begin(self, change: Change, reading: Reading) -> dict[str, Any] | None:
        plan = plan_of(self._root, self._using, tuple(change.columns), True)
        event: Any = change.event
        try:
            told = plan.begun(change, event)
        except Unspeakable:
            return None
        with reading.cursor() as cursor:
            cursor.execute(plan.begin.replace("{read}", reading.columns), told)
            found = cursor.fetchone()
        if found is None:
            return None
        *values, event.pk = found
        row = dict(zip(reading.names, reading.values(values), strict=True))
        event.digest = row["digest"]
        event._state.adding, event._state.db = False, self._using
        return row

    def _insert(self, sql: str, told: Sequence[Any], events: Iterable[TaskEvent]) -> set[Any]:
        """The keys of the tasks whose events were inserted."""
        with connections[self._using].cursor() as cursor:
            cursor.execute(sql, told)
            keys = {(str(task), number): pk for task, number, pk in cursor.fetchall()}
        inserted = set()
        for event in events:
            if (pk := keys.get((str(event.task_id), event.sequence))) is not None:
                event.pk, event._state.adding, event._state.db = pk, False, self._using
                inserted.add(event.task_id)
        return inserted


def _slices(items: Sequence[T], size: int | None) -> list[Sequence[T]]:
    return [items[start : start + (size or _MOST)] for start in range(0, len(items), size or _MOST)]


_PENS: dict[str, type[Pen]] = {"postgresql": PostgresPen}


def pen_of(root: type[TaskRow], using: str) -> Pen:
    """The pen for the table of ``root``, and for that of its events, in ``using``."""
    return _PENS.get(connections[using].vendor, Pen)(root, using)

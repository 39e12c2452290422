"""Write rows and events on PostgreSQL, a batch per statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connections

from ...ledger.event import TaskEvent
from ..store import Change, Pen
from .json_parameters import (
    Unspeakable,
    telling,
)
from .reader import Reading
from .sql import plan_of

T = TypeVar("T")


#: How many rows one statement of PostgreSQL is told of: the text is held in memory, twice.
_MOST = 1000


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

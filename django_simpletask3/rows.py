"""The rows of one batch: read under lock, written back by compare-and-set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models
from django.db.models.functions import Cast

from .exceptions import StaleTask
from .locks import become_the_writer, slices

if TYPE_CHECKING:
    from .models import SimpleTask

#: How many rows one statement writes: its cases are tried for each row, so they grow as a square.
_SLICE = 200


class Rows:
    """Some rows of one task table within one transaction, by primary key."""

    def __init__(self, root: type[SimpleTask], using: str, pks: Iterable[Any]) -> None:
        self._root = root
        self._connection = connections[using]
        self._pks = {self._key(pk) for pk in pks}
        self._changes: dict[Any, dict[str, Any]] = {}
        self._sequences: dict[Any, int] = {}
        self._rows: dict[Any, dict[str, Any]] = {}
        self._busy: set[Any] = set()

    def read(self, names: Iterable[str], *, pass_over: bool = False) -> None:
        """Read the columns ``names``; the rows stay locked where the database can lock rows.

        Rows that somebody else has locked are waited for, or passed over: they are ``busy`` then.
        """
        rows = self._table(self._root).filter(pk__in=self._pks).order_by("pk")
        become_the_writer(rows)
        if self._connection.features.has_select_for_update:
            # In the order of the keys: two batches cannot wait for each other.
            can_pass_over = self._connection.features.has_select_for_update_skip_locked
            rows = rows.select_for_update(skip_locked=pass_over and can_pass_over)
        self._rows = {row["pk"]: row for row in rows.values("pk", *names)}
        if pass_over and (absent := self._pks - self._rows.keys()):
            there = self._table(self._root).filter(pk__in=absent)
            self._busy = set(there.values_list("pk", flat=True))
        self._sequences = {pk: row["sequence"] for pk, row in self._rows.items()}

    def get(self, pk: Any) -> Mapping[str, Any] | None:
        """The row as it will be after the changes so far; None if there is none."""
        return self._rows.get(self._key(pk))

    def is_busy(self, pk: Any) -> bool:
        """Whether the row was there, and passed over because somebody else has locked it."""
        return self._key(pk) in self._busy

    def change(self, task: SimpleTask, columns: Mapping[str, Any]) -> None:
        """Note new values for the row of ``task``."""
        key = self._key(task.pk)
        self._rows[key].update(columns)
        self._changes.setdefault(key, {}).update(columns)

    def news_of(self, task: SimpleTask, names: Iterable[str]) -> dict[str, Any]:
        """The columns ``names`` of the row of ``task``, and all that were changed."""
        key = self._key(task.pk)
        read = {name: self._rows[key][name] for name in names}
        return {**read, **self._changes.get(key, {})}

    def write(self, tasks: Iterable[SimpleTask]) -> None:
        """Write all changes to ``tasks``, those to the same columns in one statement.

        Raises StaleTask, and the transaction must be undone, if a row is not as it was read: the
        lock is the row's ``sequence``, on every database.
        """
        by_key = {self._key(task.pk): task for task in tasks}
        alike: dict[tuple[str, ...], list[Any]] = {}
        for pk, columns in self._changes.items():
            alike.setdefault(tuple(sorted(columns)), []).append(pk)
        for names, pks in alike.items():
            for some in slices(pks, _SLICE):
                self._write_alike(names, some)
            self._write_children(names, [by_key[pk] for pk in pks])

    def _write_alike(self, names: tuple[str, ...], pks: Sequence[Any]) -> None:
        unmoved = self._by_pk("sequence", {pk: self._sequences[pk] for pk in pks})
        values = {
            name: self._by_pk(name, {pk: self._changes[pk][name] for pk in pks})
            for name in names
            if _has_column(self._root, name)
        }
        written = self._table(self._root).filter(pk__in=pks, sequence=unmoved).update(**values)
        if written != len(pks):
            raise StaleTask(f"Tasks of {self._root._meta.label} were moved meanwhile; try again.")

    def _write_children(self, names: tuple[str, ...], tasks: list[SimpleTask]) -> None:
        """The columns that a multi-table child keeps in tables of its own."""
        apart = [name for name in names if not _has_column(self._root, name)]
        for task in tasks if apart else ():
            own = {name: self._changes[self._key(task.pk)][name] for name in apart}
            self._table(type(task)).filter(pk=task.pk).update(**own)

    def _by_pk(self, name: str, values: dict[Any, Any]) -> Any:
        column: Any = self._root._meta.get_field(name)
        first = next(iter(values.values()))
        if all(_same(value, first) for value in values.values()):
            return first
        whens = [models.When(pk=pk, then=_value(value, column)) for pk, value in values.items()]
        case = models.Case(*whens, output_field=column)
        if self._connection.features.requires_casted_case_in_updates:
            return Cast(case, output_field=column)
        return case

    def _key(self, pk: Any) -> Any:
        # As the database gives it back: a task may be asked for by the text of its key.
        return self._root._meta.pk.to_python(pk)

    def _table(self, model: type[models.Model]) -> Any:
        # Not a manager: a task's own managers may hide rows.
        return models.QuerySet(model, using=self._connection.alias)


def _has_column(model: type[models.Model], name: str) -> bool:
    try:
        column: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return bool(column.model._meta.concrete_model is model)


def _same(one: Any, other: Any) -> bool:
    # Of what holds other values, equal is not the same: [1] == [True].
    plain = type(one) is type(other) and issubclass(type(one), str | int | datetime)
    return one is other or (plain and bool(one == other))


def _value(value: Any, column: Any) -> Any:
    if hasattr(value, "resolve_expression"):
        return value
    return models.Value(value, output_field=None if value is None else column)

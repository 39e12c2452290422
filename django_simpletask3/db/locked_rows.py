"""The rows of one batch: read under lock, written back by compare-and-set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import connections, models

from ..batches import batches
from ..exceptions import StaleTask
from ..ledger.columns import has_column
from .backends import store_for
from .locks import begin_write
from .store import RowChange

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

#: How many rows one statement writes.
_BATCH_SIZE = 1000


class LockedRows:
    """Some rows of one task table within one transaction, by primary key."""

    def __init__(self, root: type[TaskRow], using: str, pks: Iterable[object]) -> None:
        self._root = root
        self._connection = connections[using]
        self._pks = {self._key(pk) for pk in pks}
        self._changes: dict[Any, dict[str, Any]] = {}
        self._sequences: dict[Any, int] = {}
        self._rows: dict[Any, dict[str, Any]] = {}
        self._busy: set[Any] = set()

    def read(self, names: Iterable[str], *, skip_locked: bool = False) -> None:
        """Read the columns ``names``; the rows stay locked where the database can lock rows.

        Rows that another transaction has locked are waited for or, with ``skip_locked``, skipped
        and busy.
        """
        rows = self._table(self._root).filter(pk__in=self._pks).order_by("pk")
        begin_write(self._root, self._connection.alias)
        if self._connection.features.has_select_for_update:
            # In the order of the keys: two batches cannot wait for each other.
            can_skip_locked = self._connection.features.has_select_for_update_skip_locked
            rows = rows.select_for_update(skip_locked=skip_locked and can_skip_locked)
        self._rows = {row["pk"]: row for row in rows.values("pk", *names)}
        if skip_locked and (missing_pks := self._pks - self._rows.keys()):
            existing = self._table(self._root).filter(pk__in=missing_pks)
            self._busy = set(existing.values_list("pk", flat=True))
        self._sequences = {pk: row["sequence"] for pk, row in self._rows.items()}

    def get(self, pk: Any) -> Mapping[str, Any] | None:
        """The row with the changes so far; None if there is none."""
        return self._rows.get(self._key(pk))

    def is_busy(self, pk: object) -> bool:
        """Whether the row was skipped because another transaction has locked it."""
        return self._key(pk) in self._busy

    def change(self, task: TaskRow, columns: Mapping[str, Any]) -> None:
        """Remember new values for the row of ``task``; none leave it as it is."""
        if columns:
            key = self._key(task.pk)
            self._rows[key].update(columns)
            self._changes.setdefault(key, {}).update(columns)

    def current_values(self, task: TaskRow, names: Iterable[str]) -> dict[str, object]:
        """The columns ``names`` of the row of ``task``, and all that were changed."""
        key = self._key(task.pk)
        row_values = {name: self._rows[key][name] for name in names}
        return {**row_values, **self._changes.get(key, {})}

    def write(self, tasks: Iterable[TaskRow]) -> None:
        """Write all changes to ``tasks``, those to the same columns in one statement.

        Raises StaleTask, and the transaction must be rolled back, if a row is not as it was read:
        on every database the row's ``sequence`` is compared.
        """
        by_key = {self._key(task.pk): task for task in tasks}
        pks_by_columns: dict[tuple[str, ...], list[Any]] = {}
        for pk, columns in self._changes.items():
            pks_by_columns.setdefault(tuple(sorted(columns)), []).append(pk)
        for names, pks in pks_by_columns.items():
            self._write_columns([name for name in names if has_column(self._root, name)], pks)
            self._write_children(names, [by_key[pk] for pk in pks])

    def _write_columns(self, names: Sequence[str], pks: Sequence[object]) -> None:
        store = store_for(self._root, self._connection.alias)
        for batch in batches(pks, _BATCH_SIZE):
            changes = [
                RowChange(pk, self._sequences[pk], {n: self._changes[pk][n] for n in names})
                for pk in batch
            ]
            if store.update(changes) != len(changes):
                raise StaleTask(
                    f"Tasks of {self._root._meta.label} were changed meanwhile; try again."
                )

    def _write_children(self, names: tuple[str, ...], tasks: list[TaskRow]) -> None:
        """Write the columns that a multi-table child has in its own table."""
        child_columns = [name for name in names if not has_column(self._root, name)]
        for task in tasks if child_columns else ():
            child_values = {name: self._changes[self._key(task.pk)][name] for name in child_columns}
            self._table(type(task)).filter(pk=task.pk).update(**child_values)

    def _key(self, pk: Any) -> Any:
        # As the database returns it: the key of an instance may be its text.
        return self._root._meta.pk.to_python(pk)

    def _table(self, model: type[models.Model]) -> Any:
        # Not a manager: a task's own managers may hide rows.
        return models.QuerySet(model, using=self._connection.alias)

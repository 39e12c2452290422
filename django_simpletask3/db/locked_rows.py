"""The rows of one batch: read under lock, written back by compare-and-set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db import connections, models

from ..ledger.columns import has_column
from ..ledger.task_row import all_rows
from .backends import store_for
from .locks import begin_write
from .store import Change

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow


class LockedRows:
    """Some rows of one task table within one transaction, by primary key."""

    def __init__(self, root: type[TaskRow], using: str, pks: Iterable[object]) -> None:
        self._root = root
        self._connection = connections[using]
        self._pks = {self._key(pk) for pk in pks}
        self._changes: dict[Any, Change] = {}
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

    def get(self, pk: Any) -> Mapping[str, Any] | None:
        """The row with the changes so far; None if there is none."""
        return self._rows.get(self._key(pk))

    def is_busy(self, pk: object) -> bool:
        """Whether the row was skipped because another transaction has locked it."""
        return self._key(pk) in self._busy

    def change(self, change: Change) -> None:
        """Remember a change of a row, and its events."""
        row = self._rows[change.pk]
        unchanged = Change(change.pk, row["sequence"], {}, ())
        self._changes[change.pk] = self._changes.get(change.pk, unchanged).then(change)
        row.update(change.columns)

    def current_values(self, task: TaskRow, names: Iterable[str]) -> dict[str, object]:
        """The columns ``names`` of the row of ``task``, and all that were changed."""
        key = self._key(task.pk)
        row_values = {name: self._rows[key][name] for name in names}
        change = self._changes.get(key)
        return {**row_values, **(change.columns if change else {})}

    def write(self, tasks: Iterable[TaskRow]) -> None:
        """Write all changes, which are of ``tasks``, and their events.

        Raises StaleTask, and the transaction must be rolled back, if a row is not as it was read:
        on every database the row's ``sequence`` is compared.
        """
        store = store_for(self._root, self._connection.alias)
        for batch in store.batches(map(self._of_root_table, self._changes.values())):
            store.update_with_events(batch, locked=True)
        unwritten = {pk: self._of_other_tables(change) for pk, change in self._changes.items()}
        for task in tasks:
            self._write_other_tables(task, unwritten.get(self._key(task.pk), {}))

    def _of_root_table(self, change: Change) -> Change:
        columns = {n: value for n, value in change.columns.items() if has_column(self._root, n)}
        return change._replace(columns=columns)

    def _of_other_tables(self, change: Change) -> dict[str, Any]:
        return {n: value for n, value in change.columns.items() if not has_column(self._root, n)}

    def _write_other_tables(self, task: TaskRow, unwritten: dict[str, Any]) -> None:
        """Write those of the columns that ``task`` has in tables of children or parents.

        They are removed: another transition of the same row must not write an expression again.
        """
        names = {name for f in task._meta.concrete_fields for name in (f.name, f.attname)}
        values = {name: unwritten.pop(name) for name in names & unwritten.keys()}
        if values:
            self._table(type(task)).filter(pk=task.pk).update(**values)

    def _key(self, pk: Any) -> Any:
        # As the database returns it: the key of an instance may be its text.
        return self._root._meta.pk.to_python(pk)

    def _table(self, model: type[models.Model]) -> Any:
        return all_rows(model, self._connection.alias)

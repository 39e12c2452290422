"""Load tasks by label and key, as the models that they were saved as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..db.loading import load_tasks, pks_by_key
from ..db.postgresql.reader import rows_without_outcomes
from ..ledger.task_row import TaskRow, all_rows
from .tables import model_of


def load_by_key(
    keys: Iterable[tuple[str, str]], using: str, *, with_results: bool = False, **conditions: Any
) -> dict[tuple[str, str], TaskRow]:
    """The tasks of which ``keys`` has label and key; those that do not exist are left out.

    One query for each table, and one more for a table with several models. Results are loaded when
    they are first used, unless ``with_results`` is true. ``conditions`` are of ``filter()``.
    """

    def load(model: type[Any], using: str, pks: Sequence[Any]) -> list[Any]:
        rows = all_rows(model, using) if with_results else rows_without_outcomes(model, using)
        return list(rows.filter(pk__in=pks, **conditions))

    by_label: dict[str, list[str]] = {}
    for label, key in keys:
        by_label.setdefault(label, []).append(key)
    tasks: dict[tuple[str, str], TaskRow] = {}
    for label, texts in by_label.items():
        if (root := model_of(label)) is not None:
            found = load_tasks(root, using, pks_by_key(root, texts).values(), load)
            tasks |= {(label, str(task.pk)): task for task in found}
    return tasks

"""Legal holds protect tasks from deletion in the admin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.contrib.admin.utils import NestedObjects
from django.db import router
from django.utils.translation import gettext as _

from ..ledger.task_row import table_model
from ..models.task import SimpleTask
from ..transitions.legal_holds import pks_on_hold
from .html.values import escape_invisible


def hold_messages(objs: Sequence[Any]) -> list[str]:
    """A message for each task on legal hold that deleting ``objs`` would delete."""
    if not objs:
        return []
    using = router.db_for_write(objs[0]._meta.model)
    collector = NestedObjects(using=using, origin=objs)
    collector.collect(objs)
    message = _("%s is on legal hold: none of its data is deleted until the hold is lifted.")
    return [escape_invisible(message % task) for task in _tasks_on_hold(collector, using)]


def _tasks_on_hold(collector: NestedObjects, using: str) -> Iterator[SimpleTask]:
    by_model: Mapping[Any, Any] = collector.model_objs
    for model, tasks in by_model.items():
        # A multi-table task is deleted with the row of its root, which is among them.
        if issubclass(model, SimpleTask) and table_model(model) is model._meta.concrete_model:
            pks = pks_on_hold(table_model(model), using, [task.pk for task in tasks])
            yield from (task for task in sorted(tasks, key=str) if task.pk in pks)

"""Deletion in the admin: legal holds protect tasks from it, and it does not stop a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.contrib.admin.utils import NestedObjects
from django.db import router
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..ledger.task_row import table_model
from ..models.task import SimpleTask
from ..states import Status
from ..transitions.legal_holds import pks_on_hold
from .html.values import escape_invisible, format_count


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


def add_warning(response: TemplateResponse) -> None:
    """Let the page that asks whether to delete a selection say how many of its tasks are running.

    Without a statement: the page lists the same rows.
    """
    context: dict[str, Any] = response.context_data or {}
    is_refused = context.get("perms_needed") or context.get("protected")
    tasks = () if is_refused else context.get("queryset", ())
    running = sum(task.status == Status.RUNNING for task in tasks)
    text = ngettext(
        "%(count)s of the tasks is running. Deleting it does not stop its run: cancel it first.",
        "%(count)s of the tasks are running. Deleting them does not stop their runs: cancel them"
        " first.",
        running,
    )
    response.context_data = {
        **context,
        "running": text % {"count": format_count(running)} if running else "",
    }

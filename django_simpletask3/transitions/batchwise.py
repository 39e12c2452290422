"""Apply a transition to all tasks of a queryset, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db import models, transaction

from ..batches import batches
from ..db.conflicts import repeat_on_conflict
from ..db.postgresql.reader import rows_without_outcomes
from ..ledger.task_row import table_model
from ..states import ANY, EVENTS, EventKind
from . import writer
from .transition import Transition

_BATCH_SIZE = 100  # tasks in one transaction


def apply_batchwise(selection: models.QuerySet[Any], kind: EventKind, **details: Any) -> int:
    """Apply ``kind`` to the tasks of ``selection``, and return to how many.

    Each batch is a transaction by itself, unless one is open. A task that is refused, or that the
    selection no longer contains when its row is locked, is left out and does not stop the others.
    Of two that take one unique key, the first does, in the order of the selection or of the keys.
    ``details`` are fields of Transition, the same for all.
    """
    sources = EVENTS[kind].sources
    if sources != ANY and _may_be_filtered(selection):
        selection = selection.filter(status__in=sources)
    # DISTINCT ON has an order of its own.
    has_order = selection.ordered or selection.query.distinct_fields
    if _may_be_filtered(selection) and not has_order:
        selection = selection.order_by("pk")
    pks = dict.fromkeys(selection.values_list("pk", flat=True))  # a join may repeat them
    apply_batch = partial(_apply_batch, selection, kind, details)
    return sum(
        repeat_on_conflict(selection.db, partial(apply_batch, batch))
        for batch in batches(pks, _BATCH_SIZE)
    )


def _may_be_filtered(selection: models.QuerySet[Any]) -> bool:
    return not (selection.query.is_sliced or selection.query.combinator)


def _apply_batch(
    selection: models.QuerySet[Any],
    kind: EventKind,
    details: dict[str, Any],
    pks: Iterable[object],
) -> int:
    using = selection.db
    with transaction.atomic(using=using):
        # What another transaction changes meanwhile must not be applied to what it was before
        # (test_a_task_that_another_transaction_moves_out_of_the_selection_is_left_alone).
        writer.lock(table_model(selection.model), using, pks)
        tasks = _load(selection, pks)
        transitions = [Transition(task, kind, **details) for task in tasks]
        writer.apply_all(transitions, using=using)
    return sum(transition.event is not None for transition in transitions)


def _load(selection: models.QuerySet[Any], pks: Iterable[object]) -> list[Any]:
    """Those of the tasks that ``selection`` still contains, in its order."""
    if _may_be_filtered(selection):
        pks = dict.fromkeys(selection.filter(pk__in=pks).values_list("pk", flat=True))
    rows = rows_without_outcomes(selection.model, selection.db).filter(pk__in=pks)
    tasks = {task.pk: task for task in rows}
    return [tasks[pk] for pk in pks if pk in tasks]

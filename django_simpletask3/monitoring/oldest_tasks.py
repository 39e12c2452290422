"""Explain why the oldest waiting task of each table does not run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db.models import DateTimeField, Value
from django.db.models.functions import Cast

from ..control import PAUSE, OperatorCommand
from ..db.limited_queries import first_rows
from ..exceptions import QueueRefused, QueueUnavailable
from ..ledger.columns import has_column
from ..models.explanation.pending import explain_pending
from ..models.explanation.sentences import Explanation
from ..models.explanation.status_change import (
    StatusChange,
    enqueue_events,
    models_of,
    newest,
    saved_model,
    status_changes,
)
from ..models.explanation.surroundings import Surroundings
from ..models.queryset import rows_of
from ..models.task import SimpleTask
from ..states import Status
from .health_types import Health, TableHealth
from .scope import QueryScope

_NO_CHANGE = StatusChange("", None)
_COLUMNS = ("run_after", "check_at", "expires_at")
#: In the place of a column that a table does not have; of the same type in every database.
_NO_TIME = Cast(Value(None), DateTimeField())

#: The keys of the oldest tasks of one database, by the models of their tables.
_Oldest = Mapping[type[SimpleTask], str]


def explain_oldest(health: Health) -> Health:
    """``health`` with the explanations of the oldest waiting tasks.

    Two queries for each database with waiting tasks, and a few commands to Redis for each of these
    tasks. Raises nothing if a database or Redis does not answer.
    """
    oldest = {(table.model, table.database): table.oldest for table in health.tables}
    surroundings = _surroundings_of(health)
    explanations: dict[tuple[str, str], Explanation] = {}

    def explain_database(using: str, roots: list[type[SimpleTask]]) -> None:
        keys = {r: key for r in roots if (key := oldest.get((r._meta.label, using))) is not None}
        for root, explanation in _explain(using, keys, surroundings).items():
            explanations[root._meta.label, using] = explanation

    unreachable = {alias: state.error for alias, state in health.databases.items() if state.error}
    for _ in QueryScope(unreachable=unreachable).query_databases(explain_database):
        pass
    return replace(health, tables=[_with(table, explanations) for table in health.tables])


def _with(table: TableHealth, explanations: Mapping[tuple[str, str], Explanation]) -> TableHealth:
    explanation = explanations.get((table.model, table.database))
    if explanation is None:  # the task has started meanwhile
        return table
    return replace(table, cause=str(explanation.cause), explanation=str(explanation))


def _explain(
    using: str, oldest: _Oldest, surroundings: Surroundings
) -> dict[type[SimpleTask], Explanation]:
    rows = {
        root: rows_of(root, using).pending().filter(pk=key).values_list(*_columns_of(root))
        for root, key in oldest.items()
    }
    changes = {(root, False): status_changes(root, using, key) for root, key in oldest.items()}
    first_events = {
        (root, True): enqueue_events(root, using, key)
        for root, key in oldest.items()
        if len(models_of(root)) > 1
    }
    found_rows = first_rows(using, rows, 1)
    found_events = first_rows(using, changes | first_events, 1)
    explanations: dict[type[SimpleTask], Explanation] = {}
    for root, key in oldest.items():
        for values in found_rows[root]:
            row = _build_row(root, using, key, values)
            change = newest(found_events[root, False]) or _NO_CHANGE
            model: Any = saved_model(root, newest(found_events.get((root, True), ())))
            explanations[root] = explain_pending(row, change, model, surroundings)
    return explanations


def _columns_of(root: type[SimpleTask]) -> list[Any]:
    return [name if has_column(root, name) else _NO_TIME for name in _COLUMNS]


def _build_row(root: type[SimpleTask], using: str, key: str, values: Iterable[Any]) -> SimpleTask:
    """The task with this key, as far as it was read."""
    pk: Any = root._meta.pk
    known = {pk.attname: pk.to_python(key), "status": Status.PENDING}
    known |= {n: v for n, v in zip(_COLUMNS, values, strict=True) if has_column(root, n)}
    return root.from_db(using, [*known], [*known.values()])


def _surroundings_of(health: Health) -> Surroundings:
    pauses = {
        model.model: OperatorCommand(
            action=PAUSE,
            target=model.model,
            time=datetime.fromisoformat(model.paused.time),
            actor=model.paused.actor,
            reason=model.paused.reason,
        )
        for model in health.models
        if model.paused is not None
    }
    if (error := health.redis.error) is not None:
        kind = QueueRefused if health.redis.is_refusal else QueueUnavailable
        return Surroundings(pauses, redis_error=kind(error))
    served = frozenset(label for worker in health.workers for label in worker.models)
    return Surroundings(pauses, served, bool(health.workers))

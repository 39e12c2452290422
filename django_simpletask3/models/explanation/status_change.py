"""The event that brought a task into its status, and the model that it was saved as."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from django.apps import apps
from django.db.models import QuerySet

from ...ledger.digests import is_erased
from ...ledger.event import events_of
from ...ledger.task_row import TaskRow, table_model
from ...states import AUDIT_ONLY, EventKind
from .sentences import details_of


class StatusChange(NamedTuple):
    """What an explanation needs of an event."""

    kind: EventKind | str
    time: datetime | None
    actor: str = ""
    reason: str = ""
    data: Any = None

    @property
    def details(self) -> str:
        """Who and why, as far as the event says it."""
        return details_of(self.actor, self.reason)

    @property
    def error(self) -> str:
        """Type and message of the error; empty without one, or if it was erased."""
        error = self.data.get("error") if isinstance(self.data, dict) else None
        if not isinstance(error, dict) or is_erased(error):
            return ""
        return ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))


def status_changes(root: type[TaskRow], using: str, pk: object) -> QuerySet[Any, Any]:
    """The events that changed the status of a task, the newest first, as tuples."""
    return _tuples(events_of(root, using).filter(task=pk).exclude(kind__in=AUDIT_ONLY))


def enqueue_events(root: type[TaskRow], using: str, pk: object) -> QuerySet[Any, Any]:
    """The first events of a task, and of earlier rows with its key, the newest first, as tuples."""
    return _tuples(events_of(root, using).filter(task=pk, kind=EventKind.ENQUEUE))


def _tuples(events: QuerySet[Any]) -> QuerySet[Any, Any]:
    columns = ("kind", "event_time", "actor", "reason", "data")
    return events.order_by("-sequence").values_list(*columns)


def newest(rows: Iterable[tuple[Any, ...]]) -> StatusChange | None:
    """The first of these tuples; None if there is none."""
    return next((StatusChange(*row) for row in rows), None)


def models_of(root: type[TaskRow]) -> dict[str, type[TaskRow]]:
    """The models whose tasks stand in the table of ``root``, by label."""
    models = (model for model in apps.get_models() if issubclass(model, TaskRow))
    return {model._meta.label: model for model in models if table_model(model) is root}


def saved_model(root: type[TaskRow], enqueue_event: StatusChange | None) -> type[TaskRow]:
    """The model that a task with this first event was saved as."""
    data = enqueue_event.data if enqueue_event else None
    label = data.get("model") if isinstance(data, dict) else None
    return models_of(root).get(label, root) if isinstance(label, str) else root

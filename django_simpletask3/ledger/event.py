"""The stream: one append-only table of events beside every task table."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, cast

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..exceptions import AppendOnly
from ..states import LIMIT_REASON, EventKind
from .digests import chained_digest
from .fields import MAX_TEXT, JSONTextField, KindField, StatusField
from .task_row import TaskRow, all_rows, table_model

_APPEND_ONLY_MESSAGE = (
    "Events are append-only: they cannot be {}. Record what happened with the task's own methods "
    "(reset(), cancel(), note()). A stream outlives its task."
)


class TaskEventQuerySet(models.QuerySet[Any]):
    """A queryset of events; to change or delete them raises AppendOnly."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly(_APPEND_ONLY_MESSAGE.format("updated"))

    def delete(self) -> NoReturn:
        raise AppendOnly(_APPEND_ONLY_MESSAGE.format("deleted"))

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly(_APPEND_ONLY_MESSAGE.format("updated"))

    def bulk_create(self, *args: Any, update_conflicts: bool = False, **kwargs: Any) -> list[Any]:
        """As Django's. Raises AppendOnly if existing events would be updated."""
        if update_conflicts:
            raise AppendOnly(_APPEND_ONLY_MESSAGE.format("updated"))
        return super().bulk_create(*args, **kwargs)


class TaskEvent(models.Model):
    """One thing that happened to one task, at its place (``sequence``) in the task's stream.

    ``digest`` is over the event and the digest before it, so a changed, removed or inserted event
    breaks the chain. ``task`` survives the deletion of its row: history outlives the task.
    """

    if TYPE_CHECKING:
        task: models.ForeignKey[Any, Any]
        task_id: Any

    id = models.BigAutoField(primary_key=True)
    sequence = models.PositiveIntegerField(_("No."))
    kind = KindField(_("event"), max_length=32)
    from_status = StatusField(_("from"), null=True)
    to_status = StatusField(_("to"), null=True)
    attempt = models.PositiveIntegerField(_("attempt"))
    event_time = models.DateTimeField(_("time"))
    worker = models.CharField(_("worker"), max_length=MAX_TEXT, blank=True)
    actor = models.CharField(_("actor"), max_length=MAX_TEXT, blank=True)
    reason = models.CharField(_("reason"), max_length=MAX_TEXT, blank=True)
    data = JSONTextField(_("data"), null=True, blank=True)
    digest = models.CharField(_("digest"), max_length=64)

    objects = TaskEventQuerySet.as_manager()

    class Meta:
        abstract = True
        unique_together = (("task", "sequence"),)
        # What happened in a period, of one kind: recoveries, outcomes, streams of deleted tasks.
        indexes = (models.Index(fields=("kind", "event_time")),)
        # Not "task": Django would order as the task model does, and join its table, in which the
        # rows of deleted tasks are missing (test_deleting_a_task_leaves_its_stream).
        ordering = ("task_id", "sequence")
        default_permissions = ("view",)
        verbose_name = _("task event")
        verbose_name_plural = _("task events")

    def __str__(self) -> str:
        return f"{self.task_id} #{self.sequence} {self.kind}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert a new event. Raises AppendOnly for one that exists."""
        if not self._state.adding:
            raise AppendOnly(_APPEND_ONLY_MESSAGE.format("changed"))
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly(_APPEND_ONLY_MESSAGE.format("deleted"))

    def expected_digest(self, previous: str) -> str:
        """The digest this event must have after the event with the digest ``previous``."""
        return chained_digest(previous, content_of(self))


def content_of(event: TaskEvent) -> dict[str, Any]:
    """What the digest of ``event`` covers, except the digest before it."""
    return {
        "task": event.task_id,
        "sequence": event.sequence,
        "kind": event.kind,
        "from_status": event.from_status,
        "to_status": event.to_status,
        "attempt": event.attempt,
        "event_time": event.event_time,
        "worker": event.worker,
        "actor": event.actor,
        "reason": event.reason,
        "data": event.data,
    }


def task_foreign_key(task: str | type[TaskRow]) -> models.ForeignKey[Any, Any]:
    """The column ``task`` of an event model for the task model ``task``.

    No constraint and no cascade: the stream stays when the row goes. The unique pair
    (task, sequence) is the index.
    """
    return models.ForeignKey(
        task,
        on_delete=models.DO_NOTHING,
        related_name="events",
        db_constraint=False,
        db_index=False,
        verbose_name=_("task"),
    )


def make_event_model(model: type[TaskRow]) -> type[TaskEvent]:
    """The companion of ``model``: class ``<Name>Event`` in the module and app of ``model``.

    The companion idea is borrowed from django-pghistory.
    """
    name = f"{model.__name__}Event"
    meta = type("Meta", (TaskEvent.Meta,), {"abstract": False, "app_label": model._meta.app_label})
    body = {
        "__module__": model.__module__,
        "__qualname__": name,
        "__doc__": f"The event stream of {model.__name__}.",
        "task": task_foreign_key(model),
        "Meta": meta,
    }
    companion: type[TaskEvent] = type(name, (TaskEvent,), body)
    setattr(sys.modules[model.__module__], name, companion)
    return companion


def event_model_of(model: type[models.Model]) -> type[TaskEvent]:
    """The event model of ``model``: the companion, or the one that its root names."""
    return cast("type[TaskEvent]", _event_model_of(table_model(cast("type[TaskRow]", model))))


@lru_cache(maxsize=10_000)
def _event_model_of(root: Any) -> Any:
    # By name at run time: the relation is made by the event model.
    relation = next((r for r in root._meta.related_objects if r.name == "events"), None)
    if relation is None:
        raise LookupError(f"{root._meta.label} has no event model: run manage.py check.")
    return relation.related_model


def events_of(model: type[models.Model], using: str | None) -> models.QuerySet[Any]:
    """The streams of all tasks in the table of ``model``, in order."""
    return all_rows(event_model_of(model), using).order_by("task_id", "sequence")


def is_of_limit(event: TaskEvent) -> bool:
    """Whether ``event`` turned a task away from its limit, or gave it a place.

    A user may give that reason, too.
    """
    is_of_kind = event.kind in (EventKind.BLOCK, EventKind.UNBLOCK)
    return is_of_kind and event.reason == LIMIT_REASON and "limit" in (event.data or {})

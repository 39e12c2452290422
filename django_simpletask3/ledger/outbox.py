"""The outbox of durable subscribers: one row per event and subscription."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from .event import TaskEvent
from .fields import MAX_TEXT, KindField
from .subscribers import registered_subscribers
from .task_row import all_rows, table_model

if TYPE_CHECKING:
    from .task_row import TaskRow


class Delivery(models.Model):
    """An event that a subscriber has not handled yet; the row is deleted when it has.

    ``due_time`` is the time of the next try; while a process delivers it, the end of its claim. It
    is NULL once the delivery is dead. By the database's clock.
    """

    id = models.BigAutoField(primary_key=True)
    subscription = models.CharField(_("subscription"), max_length=100)
    model = models.CharField(_("task model"), max_length=MAX_TEXT)
    task_key = models.CharField(_("task"), max_length=MAX_TEXT)
    sequence = models.PositiveIntegerField(_("No."))
    kind = KindField(_("event"), max_length=32)
    event_time = models.DateTimeField(_("time"))
    # For the search for due deliveries; dead ones are NULL.
    due_time = models.DateTimeField(_("next try"), null=True, db_index=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    worker = models.CharField(_("worker"), max_length=MAX_TEXT, blank=True)
    last_error = models.TextField(_("last error"), blank=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ("view", "change", "delete")
        # Each event once; also the index that finds the first delivery of a task.
        unique_together = (("subscription", "model", "task_key", "sequence"),)
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")

    def __str__(self) -> str:
        return f"{self.subscription}: {self.model} {self.task_key} #{self.sequence}"

    @property
    def is_dead(self) -> bool:
        """Whether all tries failed; an operator has to retry() or delete it."""
        return self.due_time is None


def write_deliveries(task_events: Iterable[tuple[TaskRow, TaskEvent]], using: str) -> None:
    """Write the deliveries of new events, in their transaction; none without subscribers."""
    subscribers = registered_subscribers().values()
    if not subscribers:
        return
    deliveries = [
        Delivery(
            subscription=subscriber.name,
            model=table_model(type(task))._meta.label,
            task_key=str(event.task_id),
            sequence=event.sequence,
            kind=event.kind,
            event_time=event.event_time,
            due_time=event.event_time,
        )
        for task, event in task_events
        for subscriber in subscribers
        if subscriber.is_interested_in(type(task), event.kind)
    ]
    if deliveries:
        Delivery._default_manager.using(using).bulk_create(deliveries)


def all_deliveries(using: str) -> models.QuerySet[Any]:
    """All deliveries in this database."""
    return all_rows(Delivery, using)

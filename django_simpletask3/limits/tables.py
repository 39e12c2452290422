"""The tables of limits, which every database with task tables has."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..ledger.fields import MAX_TEXT, KeyField


class LimitGate(models.Model):
    """One limit, or one key of it: the lock that everything that starts or ends under it takes.

    Only workers and maintenance jobs lock and change it. ``key`` is the hash of the key.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=100)
    key = models.UUIDField()
    # Whether a place may be free for one that waits: the maintenance job serves it.
    must_be_served = models.BooleanField(default=False, db_index=True)
    # Whether tasks may wait: false only if none does.
    has_waiters = models.BooleanField(default=False)
    # The turn of the last one that was served, for fairness.
    turn = models.BigIntegerField(default=0)
    # Of a rate: the theoretical arrival time of the next start, and when the next one may begin.
    arrival_time = models.DateTimeField(null=True)
    next_start_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("name", "key"),)
        verbose_name = _("limit")
        verbose_name_plural = _("limits")

    def __str__(self) -> str:
        return f"{self.name} {self.key}"


class LimitPlace(models.Model):
    """A place that one attempt of a task takes; it is free again when the row is deleted.

    The constraint keeps two attempts from taking the same place. Without ``number`` it lets a task
    start under a limit that has only a rate, which counts the start when it happens.
    """

    id = models.BigAutoField(primary_key=True)
    gate = models.ForeignKey(
        LimitGate, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    number = models.PositiveIntegerField(null=True)
    model = models.CharField(max_length=MAX_TEXT)
    task_key = KeyField(max_length=MAX_TEXT)
    attempt = models.PositiveIntegerField()
    worker = models.CharField(max_length=MAX_TEXT, blank=True)
    # The end of the lease; of a place that waits for its task to be claimed, the end of the wait.
    held_until = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("gate", "number"),)
        indexes: ClassVar = [
            models.Index(fields=["model", "task_key"], name="simpletask3_place_task"),
        ]
        verbose_name = _("place of a limit")
        verbose_name_plural = _("places of limits")

    def __str__(self) -> str:
        return f"{self.model} {self.task_key} #{self.attempt}"


class LimitWaiter(models.Model):
    """A blocked task that waits for a place, in the order of rank, turn and time."""

    id = models.BigAutoField(primary_key=True)
    gate = models.ForeignKey(
        LimitGate, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    # The negative priority: the smallest one comes first.
    rank = models.SmallIntegerField(default=0)
    turn = models.BigIntegerField(default=0)
    # When the task was enqueued, and when it began to wait here.
    add_time = models.DateTimeField()
    block_time = models.DateTimeField()
    # The hash of the key among which places are shared in turn.
    fair_key = models.UUIDField(null=True)
    model = models.CharField(max_length=MAX_TEXT)
    task_key = KeyField(max_length=MAX_TEXT)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("model", "task_key"),)
        indexes: ClassVar = [
            models.Index(
                fields=["gate", "rank", "turn", "add_time"], name="simpletask3_waiter_line"
            ),
            models.Index(fields=["gate", "fair_key", "turn"], name="simpletask3_waiter_fair"),
        ]
        verbose_name = _("task that waits for a limit")
        verbose_name_plural = _("tasks that wait for limits")

    def __str__(self) -> str:
        return f"{self.model} {self.task_key}"

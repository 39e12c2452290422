"""The tables of dependencies, which every database with task tables has."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..ledger.fields import MAX_TEXT


class GroupState(models.IntegerChoices):
    """What is left to do for a group of prerequisites."""

    WAITING = 0
    #: Its dependents have to be released, or canceled: in batches, by any worker.
    TO_BE_SERVED = 1
    SERVED = 2


class LinkState(models.IntegerChoices):
    """Whether the end of a prerequisite was counted by its group, which happens once."""

    OPEN = 0
    ENDED = 1
    COUNTED = 2


class DependentState(models.IntegerChoices):
    """Whether a dependent still waits for its group."""

    WAITING = 0
    RELEASED = 1
    #: It was reset, unblocked, canceled or deleted while it waited.
    LEFT = 2


class TaskGroup(models.Model):
    """Tasks that others wait for, as a whole: how many have not ended, and how many failed."""

    id = models.BigAutoField(primary_key=True)
    missing = models.PositiveIntegerField()
    failed = models.PositiveIntegerField(default=0)
    # What follows from a failure: cancel, run or wait.
    on_failure = models.CharField(max_length=8)
    state = models.SmallIntegerField(default=GroupState.WAITING, db_index=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        verbose_name = _("group of tasks")
        verbose_name_plural = _("groups of tasks")

    def __str__(self) -> str:
        return str(self.pk)


class TaskDependency(models.Model):
    """A task of a group: a prerequisite."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(
        TaskGroup, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    model = models.CharField(max_length=MAX_TEXT)
    task_key = models.CharField(max_length=MAX_TEXT)
    state = models.SmallIntegerField(default=LinkState.OPEN, db_index=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("group", "model", "task_key"),)
        indexes: ClassVar = [
            models.Index(fields=["model", "task_key"], name="simpletask3_dependency_task"),
        ]
        verbose_name = _("prerequisite")
        verbose_name_plural = _("prerequisites")

    def __str__(self) -> str:
        return f"{self.model} {self.task_key}"


class TaskDependent(models.Model):
    """A task that waits, or has waited, for a group."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(
        TaskGroup, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    model = models.CharField(max_length=MAX_TEXT)
    task_key = models.CharField(max_length=MAX_TEXT)
    state = models.SmallIntegerField(default=DependentState.WAITING)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("model", "task_key"),)
        indexes: ClassVar = [
            models.Index(fields=["group", "state"], name="simpletask3_dependent_group"),
        ]
        verbose_name = _("dependent task")
        verbose_name_plural = _("dependent tasks")

    def __str__(self) -> str:
        return f"{self.model} {self.task_key}"

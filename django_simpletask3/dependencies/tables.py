"""The tables of dependencies, which every database with task tables has."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, cast

from django.apps import apps
from django.db import connections, models
from django.utils.translation import gettext_lazy as _

from ..ledger.fields import MAX_TEXT, KeyField
from ..ledger.task_row import TaskRow, table_model


class OnFailure(models.TextChoices):
    """What happens to dependents if a prerequisite fails."""

    CANCEL = "cancel"
    RUN = "run"
    #: They wait until the prerequisite was reset and has succeeded, or they are unblocked.
    WAIT = "wait"


class GroupState(models.IntegerChoices):
    """What is left to do for a group of prerequisites."""

    WAITING = 0
    #: Its dependents have to be released, canceled or blocked again: in batches, by any worker.
    TO_BE_SERVED = 1
    SERVED = 2


class LinkState(models.IntegerChoices):
    """What the group of a prerequisite knows of its end, which it counts once."""

    OPEN = 0
    #: It has ended, which has to be counted.
    HAS_FAILED = 1
    HAS_SUCCEEDED = 2
    #: It was reset, and its dependents have to wait for it again.
    WAS_RESET = 3
    #: Counted.
    FAILED = 4
    SUCCEEDED = 5


class DependentState(models.IntegerChoices):
    """Whether a dependent still waits for its group."""

    WAITING = 0
    RELEASED = 1
    #: It was reset, unblocked, canceled or deleted while it waited.
    LEFT = 2
    #: It was canceled because a prerequisite failed.
    CANCELED = 3


#: States of links that a worker or a maintenance job has to count.
TO_BE_COUNTED = (LinkState.HAS_FAILED, LinkState.HAS_SUCCEEDED, LinkState.WAS_RESET)


class PrerequisiteGroup(models.Model):
    """Tasks that others wait for, as a whole: how many are missing, and how many failed.

    Those are missing that have not ended, or, if dependents wait after a failure, not succeeded.
    Only workers and maintenance jobs lock it.
    """

    id = models.BigAutoField(primary_key=True)
    missing = models.PositiveIntegerField()
    failed = models.PositiveIntegerField(default=0)
    # An OnFailure.
    on_failure = models.CharField(max_length=32)
    state = models.SmallIntegerField(default=GroupState.WAITING)
    add_time = models.DateTimeField()

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        indexes: ClassVar = [
            models.Index(fields=["state", "add_time"], name="simpletask3_group_state"),
        ]
        verbose_name = _("group of prerequisites")
        verbose_name_plural = _("groups of prerequisites")

    def __str__(self) -> str:
        return str(self.pk)


class TaskPrerequisite(models.Model):
    """A task of a group: a prerequisite."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(
        PrerequisiteGroup, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    model = models.CharField(max_length=MAX_TEXT)
    task_key = KeyField(max_length=MAX_TEXT)
    state = models.SmallIntegerField(default=LinkState.OPEN)
    # 1 while the state is to be counted, and else NULL: an equality, for which every database uses
    # the index, and which an end that is counted at once does not change.
    to_be_counted = models.PositiveSmallIntegerField(null=True, db_index=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("group", "model", "task_key"),)
        indexes: ClassVar = [
            models.Index(fields=["model", "task_key"], name="simpletask3_prerequisite_task"),
        ]
        verbose_name = _("prerequisite")
        verbose_name_plural = _("prerequisites")

    def __str__(self) -> str:
        return f"{self.model} {self.task_key}"


class TaskDependent(models.Model):
    """A task that waits, or has waited, for a group."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(
        PrerequisiteGroup, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    model = models.CharField(max_length=MAX_TEXT)
    task_key = KeyField(max_length=MAX_TEXT)
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


def key_of(task: TaskRow) -> str:
    """The key of ``task`` as links name it."""
    return str(table_model(type(task))._meta.pk.to_python(task.pk))


def may_be_prerequisite(model: type[TaskRow]) -> bool:
    """Whether other tasks may wait for tasks of ``model``."""
    # The table may be that of a parent which is no task.
    return getattr(table_model(model), "django_simpletask3_can_be_awaited", False)


@lru_cache(maxsize=1)
def has_prerequisite_models() -> bool:
    """Whether a task of this project can wait for another at all."""
    return any(
        issubclass(model, TaskRow) and may_be_prerequisite(model) for model in apps.get_models()
    )


def model_of(label: str) -> type[TaskRow] | None:
    """The model with the table of tasks that links name ``label``; None if it was removed."""
    try:
        return cast("type[TaskRow]", apps.get_model(label))
    except LookupError:
        return None


def links_of(using: str) -> models.QuerySet[Any]:
    """All prerequisites in this database."""
    return models.QuerySet(TaskPrerequisite, using=using)


def links_to_count(using: str) -> models.QuerySet[Any]:
    """The prerequisites whose ends, or resets, have only been marked."""
    return links_of(using).filter(to_be_counted=1)


def set_link_state(links: models.QuerySet[Any], state: LinkState) -> int:
    """Update all of ``links``; how many there are."""
    return links.update(state=state, to_be_counted=1 if state in TO_BE_COUNTED else None)


def groups_of(using: str) -> models.QuerySet[Any]:
    """All groups in this database."""
    return models.QuerySet(PrerequisiteGroup, using=using)


def dependents_of(using: str) -> models.QuerySet[Any]:
    """All dependents in this database."""
    return models.QuerySet(TaskDependent, using=using)


def lock_rows(
    rows: models.QuerySet[Any], *, limit: int | None = None, skip_locked: bool = False
) -> list[Any]:
    """The first of ``rows`` in the order of their keys, locked where the database can do that."""
    features = connections[rows.db].features
    rows = rows.order_by("pk")
    if features.has_select_for_update:
        can_skip_locked = features.has_select_for_update_skip_locked
        rows = rows.select_for_update(skip_locked=skip_locked and can_skip_locked)
    return list(rows[:limit])

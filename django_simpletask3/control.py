"""Operator commands: pause and resume the queue of a task model, stop a worker's node."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import context
from .conf.time_source import machine_now
from .ledger.fields import MAX_TEXT
from .ledger.task_row import all_rows

if TYPE_CHECKING:
    from .ledger.task_row import TaskRow

PAUSE = "pause"
STOP = "stop"

#: A worker that has not reported for this long is gone, even if Redis was unreachable meanwhile.
_STALE_AFTER = timedelta(days=1)


class OperatorCommand(models.Model):
    """A command to workers that is in force until an operator revokes it or a worker executes it.

    It is kept in the database, not in Redis: a paused queue stays paused if Redis loses its data.
    """

    id = models.BigAutoField(primary_key=True)
    action = models.CharField(_("action"), max_length=32)
    #: The label of a task model (pause) or the name of a worker (stop).
    target = models.CharField(_("target"), max_length=MAX_TEXT)
    time = models.DateTimeField(_("time"), default=timezone.now)
    actor = models.CharField(_("actor"), max_length=MAX_TEXT, blank=True)
    reason = models.CharField(_("reason"), max_length=MAX_TEXT, blank=True)

    class Meta:
        app_label = "django_simpletask3"
        unique_together = (("action", "target"),)
        default_permissions = ()
        verbose_name = _("operator command")
        verbose_name_plural = _("operator commands")

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


class Dashboard(OperatorCommand):
    """The admin's page of queues and workers; its change permission lets a user give commands."""

    class Meta:
        app_label = "django_simpletask3"
        proxy = True
        default_permissions = ("view", "change")
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")


def pause(model: type[TaskRow], reason: str = "") -> bool:
    """Stop the start of tasks of ``model`` on all workers until ``resume()``.

    Each worker follows within five seconds of the caller's commit. Running tasks continue; new
    tasks are saved and pushed as usual. The command records the actor of the current context, and
    its reason if ``reason`` is empty (both cut to 255 characters). Returns False, and changes
    nothing, if the queue is paused already.
    """
    return _issue(PAUSE, model._meta.label, reason)


def resume(model: type[TaskRow]) -> bool:
    """Let workers start tasks of ``model`` again, within five seconds; False if not paused."""
    return _revoke(PAUSE, model._meta.label)


def stop(worker: str, reason: str = "") -> bool:
    """Stop the node of ``worker`` gracefully, as SIGTERM does.

    The command waits until the worker reads it: within five seconds if the worker is running.
    Returns False if the command was given already.
    """
    return _issue(STOP, worker, reason)


def acknowledge_stop(worker: str) -> bool:
    """Delete the stop command of ``worker``, which follows it; False if there is none."""
    return _revoke(STOP, worker)


def delete_stale_stops(living_workers: Collection[str]) -> int:
    """Delete stop commands older than a day to other workers; returns the number deleted.

    Those workers are gone: a living worker reports, and follows a command within seconds.
    """
    stale = _commands().filter(action=STOP, time__lt=machine_now() - _STALE_AFTER)
    deleted, _by_model = stale.exclude(target__in=list(living_workers)).delete()
    return int(deleted)


def current_commands() -> list[OperatorCommand]:
    """The commands in force, oldest first. One query."""
    return list(_commands().order_by("pk"))


def pause_of(model: type[TaskRow]) -> OperatorCommand | None:
    """The command that pauses the queue of ``model``; None if it is not paused. One query."""
    found: OperatorCommand | None = (
        _commands().filter(action=PAUSE, target=model._meta.label).first()
    )
    return found


def command_database() -> str:
    """The alias of the database that stores commands."""
    return router.db_for_write(OperatorCommand)


def command_times(using: str) -> Any:
    """The times of the commands in force, oldest first, as an unevaluated queryset."""
    return all_rows(OperatorCommand, using).order_by("pk").values_list("time")


def _issue(action: str, target: str, reason: str) -> bool:
    current_context = context.current()
    defaults = {
        "time": machine_now(),
        "actor": current_context.actor[:MAX_TEXT],
        "reason": (reason or current_context.reason)[:MAX_TEXT],
    }
    _command, is_new = _commands().get_or_create(action=action, target=target, defaults=defaults)
    return bool(is_new)


def _revoke(action: str, target: str) -> bool:
    deleted, _by_model = _commands().filter(action=action, target=target).delete()
    return bool(deleted)


def _commands() -> models.QuerySet[Any]:
    return all_rows(OperatorCommand, command_database())

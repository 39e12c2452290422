"""What operators ask of workers: to leave a queue alone for a while, or to stop."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import context

if TYPE_CHECKING:
    from .ledger.task_row import TaskRow

PAUSE = "pause"
STOP = "stop"

_MAX_LENGTH = 255
#: After which a worker that does not report will not any more, Redis or not.
_STALE_AFTER = timedelta(days=1)


class OperatorCommand(models.Model):
    """One thing that workers are asked, until it is taken back or done.

    In a table and not in Redis: a queue that was paused stays so whatever becomes of Redis.
    """

    id = models.BigAutoField(primary_key=True)
    action = models.CharField(_("action"), max_length=32)
    #: A task model's label, or a worker's name.
    target = models.CharField(_("target"), max_length=255)
    time = models.DateTimeField(_("time"), default=timezone.now)
    actor = models.CharField(_("actor"), max_length=255, blank=True)
    reason = models.CharField(_("reason"), max_length=255, blank=True)

    class Meta:
        app_label = "django_simpletask3"
        unique_together = (("action", "target"),)
        default_permissions = ()
        verbose_name = _("operator command")
        verbose_name_plural = _("operator commands")

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


class Dashboard(OperatorCommand):
    """The admin's page of queues and workers; who may change it gives instructions."""

    class Meta:
        app_label = "django_simpletask3"
        proxy = True
        default_permissions = ("view", "change")
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")


def pause(model: type[TaskRow], reason: str = "") -> bool:
    """Let no worker start tasks of ``model`` until ``resume()``; whether it was not paused before.

    Each worker obeys within five seconds; what is running goes on. Tasks are saved and queued as
    ever.
    """
    return _issue(PAUSE, model._meta.label, reason)


def resume(model: type[TaskRow]) -> bool:
    """Let workers start tasks of ``model`` again; whether it was paused."""
    return _revoke(PAUSE, model._meta.label)


def stop(worker: str, reason: str = "") -> bool:
    """Ask the node of ``worker`` to stop in its own time, as SIGTERM does; False if it is asked."""
    return _issue(STOP, worker, reason)


def acknowledge_stop(worker: str) -> bool:
    """``worker`` has heard that it is to stop; whether it was asked to."""
    return _revoke(STOP, worker)


def delete_stale_stops(living_workers: Collection[str]) -> int:
    """Take back what workers were asked long ago that are not among the ``known``; how many.

    They are gone: who lives reports, and hears of it within seconds.
    """
    stale = _rows().filter(action=STOP, time__lt=timezone.now() - _STALE_AFTER)
    deleted, _by_model = stale.exclude(target__in=list(living_workers)).delete()
    return int(deleted)


def current_commands() -> list[OperatorCommand]:
    """All instructions that hold now, oldest first. One query."""
    return list(_rows().order_by("pk"))


def command_database() -> str:
    """The database that holds instructions."""
    return router.db_for_write(OperatorCommand)


def command_times(using: str) -> Any:
    """When each instruction that holds now was given, oldest first: a query, not yet asked."""
    return models.QuerySet(OperatorCommand, using=using).order_by("pk").values_list("time")


def _issue(action: str, target: str, reason: str) -> bool:
    current_context = context.current()
    defaults = {
        "actor": current_context.actor[:_MAX_LENGTH],
        "reason": (reason or current_context.reason)[:_MAX_LENGTH],
    }
    _found, is_new = _rows().get_or_create(action=action, target=target, defaults=defaults)
    return bool(is_new)


def _revoke(action: str, target: str) -> bool:
    deleted, _by_model = _rows().filter(action=action, target=target).delete()
    return bool(deleted)


def _rows() -> Any:
    return models.QuerySet(OperatorCommand, using=command_database())

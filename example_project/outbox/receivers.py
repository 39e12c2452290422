"""Write a notification when a task has ended."""

from __future__ import annotations

import json
from typing import Any

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.dispatch import receiver
from django.utils.text import capfirst

from django_simpletask3.models import SimpleTask, TaskEvent
from django_simpletask3.signals import task_failed, task_succeeded
from django_simpletask3.states import EventKind, Status

from .models import Notification

OUTCOME_KINDS = (EventKind.ACK, EventKind.FAIL, EventKind.DROP)


@receiver((task_succeeded, task_failed), dispatch_uid="outbox.notify")
def notify(task: SimpleTask, event: TaskEvent, **_: Any) -> bool:
    """Write a notification about ``event`` unless there is one; return whether it is new."""
    _notification, is_new = Notification.objects.get_or_create(
        task_label=task._meta.label,
        task_pk=str(task.pk),
        sequence=event.sequence,
        defaults={"subject": _subject(task)[:200], "body": _body(task)},
    )
    return is_new


def catch_up(limit: int = 500) -> int:
    """Write missing notifications about finished tasks; return their number.

    Signals are sent after the commit, so a process that is killed between the two sends none.
    """
    models = [model for model in apps.get_models() if issubclass(model, SimpleTask)]
    return sum(_catch_up_model(model, limit) for model in models)


def _catch_up_model(model: type[SimpleTask], limit: int) -> int:
    finished = model.objects.filter(status__in=(Status.SUCCESS, Status.FAILED))
    newest = finished.order_by("-done_time")[:limit]
    outcomes = [task.events.filter(kind__in=OUTCOME_KINDS).last() for task in newest]
    return sum(notify(task=event.task, event=event) for event in outcomes if event is not None)


def _subject(task: SimpleTask) -> str:
    outcome = "is done" if task.success else "has failed"
    return capfirst(f"{task._meta.verbose_name} {task.pk}, {task}, {outcome}")


def _body(task: SimpleTask) -> str:
    if task.success:
        return json.dumps(task.result_data, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
    error = task.error_data or {}
    return f"{error.get('type')}: {error.get('message')}"

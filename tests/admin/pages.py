"""Steps in the life of a task, and what a page says of it."""

import re
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.signals import request_finished
from django.db import close_old_connections, models
from django.urls import reverse
from django.utils.html import strip_tags

from django_simpletask3.models import SimpleTask
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.testapp import models as testapp

EXECUTE = "django_simpletask3_execute_for_selected"
RESET = "django_simpletask3_reset_for_selected"
CANCEL = "django_simpletask3_cancel_for_selected"
EXECUTE_HERE = "django_simpletask3_execute_here_for_selected"
RETRY = "django_simpletask3_retry_for_selected"
HOLD = "django_simpletask3_hold_for_selected"
LIFT = "django_simpletask3_lift_for_selected"
EXPORT = "django_simpletask3_export_for_selected"
CONFIRMED = {"django_simpletask3_confirmed": "yes"}

TASK_MODELS = sorted(
    (model for model in admin.site._registry if issubclass(model, SimpleTask)),
    key=lambda model: model.__name__,
)


def bring_to(task: Any, status: Status, **details: Any) -> Any:
    """Bring a PENDING ``task`` to ``status``; ``details`` belong to the last move."""
    if status is Status.CANCELED:
        apply(task, EventKind.CANCEL)
    elif status is not Status.PENDING:
        apply(task, EventKind.START, worker="node-1")
        if status is Status.SUCCESS:
            apply(task, EventKind.ACK, worker="node-1", **{"result": "OK", **details})
        elif status is Status.FAILED:
            apply(task, EventKind.FAIL, worker="node-1", **details)
    return task


def create_task(model: type[models.Model], **columns: Any) -> Any:
    """A new task of ``model``, whatever its key is."""
    if model is testapp.TextKeyed:
        columns = {"id": "a:b ü", **columns}
    if model is testapp.Letter:
        columns = {"customer": testapp.Customer.objects.create(name="Ada"), **columns}
    if model is testapp.Secret:
        columns = {"hidden": False, **columns}
    return model._default_manager.create(**columns)


def ready(task: Any, action: str) -> Any:
    """``task``, so that ``action`` has something to do: a hold that is lifted must be there."""
    if action == LIFT:
        task.hold()
    return task


def url(target: Any, page: str = "") -> str:
    """The page of a task, or of a model."""
    meta = target._meta
    if isinstance(target, type):
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page or 'changelist'}")
    name = f"admin:{meta.app_label}_{meta.model_name}_{page or 'change'}"
    return reverse(name, args=[target.pk])


def post_action(client: Any, action: str, *tasks: Any, **further: Any) -> Any:
    """What the page that asks for a reason, or a hand, posts; followed to the page that reports."""
    chosen = {"action": action, "_selected_action": [task.pk for task in tasks]}
    data = {**chosen, **CONFIRMED, **further}
    return received(
        client.post(
            url(type(tasks[0])),
            urlencode(data, doseq=True),
            content_type="application/x-www-form-urlencoded",
            follow=True,
        )
    )


def received(response: Any) -> Any:
    """``response``; if it is a download, with all of it as ``file``, and closed."""
    if response.streaming:
        response.file = b"".join(response.streaming_content)
        # As Django's test client does: the database is to stay open.
        request_finished.disconnect(close_old_connections)
        response.close()
        request_finished.connect(close_old_connections)
    return response


def shown_messages(response: Any) -> list[str]:
    """The messages on the page."""
    return [str(message) for message in response.context["messages"]]


def text(response: Any) -> str:
    """The words on the page."""
    return re.sub(r"\s+", " ", strip_tags(response.content.decode()))

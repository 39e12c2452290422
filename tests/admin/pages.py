"""Addresses, actions and texts of the admin's pages."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections
from django.urls import reverse
from django.utils.html import strip_tags

from django_simpletask3.states import Status
from tests.steps import TASK_MODELS, create_task
from tests.testapp import models as testapp

EXECUTE = "django_simpletask3_execute_for_selected"
RESET = "django_simpletask3_reset_for_selected"
CANCEL = "django_simpletask3_cancel_for_selected"
FORCE_CANCEL = "django_simpletask3_force_cancel_for_selected"
EXECUTE_HERE = "django_simpletask3_execute_here_for_selected"
RETRY = "django_simpletask3_retry_for_selected"
UNBLOCK = "django_simpletask3_unblock_for_selected"
HOLD = "django_simpletask3_hold_for_selected"
LIFT = "django_simpletask3_lift_for_selected"
EXPORT = "django_simpletask3_export_for_selected"
CONFIRMED = {"django_simpletask3_confirmed": "yes"}
#: For tests that every model must pass: one of them is enough to tell one Django from another.
LISTED_MODELS = [
    testapp.Invoice,
    *(
        pytest.param(model, marks=pytest.mark.thorough)
        for model in TASK_MODELS
        if model is not testapp.Invoice
    ),
]


def create_listed_task(model: type[Any], **columns: Any) -> Any:
    """A new task that the list of ``model`` shows, and that its form accepts."""
    if model is testapp.Letter:
        columns = {"customer": testapp.Customer.objects.create(name="Ada"), **columns}
    if model is testapp.Secret:
        columns = {"hidden": False, **columns}
    return create_task(model, **columns)


def ready(task: Any, action: str) -> Any:
    """``task``, so that ``action`` has something to do: what is lifted or ended must be there."""
    if action == LIFT:
        task.hold()
    if action == UNBLOCK and task.status == Status.PENDING:
        task.block()
    return task


def url(target: Any, page: str = "") -> str:
    """The page of a task, or of a model."""
    meta = target._meta
    if isinstance(target, type):
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page or 'changelist'}")
    name = f"admin:{meta.app_label}_{meta.model_name}_{page or 'change'}"
    return reverse(name, args=[target.pk])


def post_action(client: Any, action: str, *tasks: Any, follow: bool = True, **further: Any) -> Any:
    """What the page that asks for a reason, or a hand, posts; followed to the page that reports."""
    chosen = {"action": action, "_selected_action": [task.pk for task in tasks]}
    data = {**chosen, **CONFIRMED, **further}
    return received(
        client.post(
            url(type(tasks[0])),
            urlencode(data, doseq=True),
            content_type="application/x-www-form-urlencoded",
            follow=follow,
        )
    )


def offered_actions(response: Any) -> set[str]:
    """The names of the actions that the list offers, in groups or not."""
    form = response.context["action_form"]
    choices = form.fields["action"].choices if form else ()
    groups = [part if isinstance(part, list) else [(name, part)] for name, part in choices]
    return {name for group in groups for name, _description in group if name}


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
    """The sentences of the messages on the page, without the links that follow them."""
    return [str(message).partition(" <span")[0] for message in response.context["messages"]]


def text(response: Any) -> str:
    """The words on the page."""
    return re.sub(r"\s+", " ", strip_tags(response.content.decode()))

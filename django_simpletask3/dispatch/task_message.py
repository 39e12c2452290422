"""The message of a task, built when the push is requested."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, router

from ..conf.options import generation, options
from ..conf.priorities import nearest_priority
from ..ledger.task_row import TaskRow, table_model, write_database
from ..queue import EncodedMessage, encode_message
from ..queue.encoding import dumps

#: Stands for the key in a message that is taken apart.
_KEY = "\0"
#: A longer id is built, and examined, for each task.
_MAX_SIMPLE_ID = 1000


class TaskMessage(NamedTuple):
    """The message of one task, built when the push was requested."""

    channel: str
    id: str
    encoded: EncodedMessage
    priority: int
    is_urgent: bool
    takes_over: bool
    run_after: Any
    using: str
    root: type[TaskRow]
    pk: Any


class MessageBuilder:
    """Builds the messages of tasks that are pushed together.

    ``get_task_id()``, ``get_task_data()`` and ``get_event_channel()`` are not called for each task
    if they are those of this package: the messages of a model differ in the key alone.
    """

    def __init__(self) -> None:
        self._generation = -1
        self._forms: dict[type[TaskRow], _Form | None] = {}

    def build(
        self, task: TaskRow, *, takes_over: bool = False, urgent: bool = False
    ) -> TaskMessage:
        """Build the message of ``task``; an ``urgent`` one is the first of its priority."""
        model, pk = type(task), task.pk
        if self._generation != (current := generation()):
            self._generation, self._forms = current, {}
        if model not in self._forms:
            self._forms[model] = _form_of(model)
        form = self._forms[model]
        using = write_database(task)
        default = router.db_for_write(model) if router.routers else DEFAULT_DB_ALIAS
        if form is None or using != default or not _is_plain(task, pk):
            channel, root, message_id = (
                task.get_event_channel(),
                table_model(model),
                task.get_task_id(),
            )
            encoded = encode_message(message_id, task.get_task_data())
        else:
            channel, root, message_id = form.channel, form.root, f"{form.id_head}{pk}{form.id_tail}"
            key = pk if type(pk) is int else f'"{pk}"'
            encoded = EncodedMessage(message_id, f'"{message_id}"', f"{form.body_head}{key}}}")
        return TaskMessage(
            channel,
            message_id,
            encoded,
            nearest_priority(int(task.priority)),
            urgent,
            takes_over,
            task.run_after,
            using,
            root,
            pk,
        )


class _Form(NamedTuple):
    """What the messages of a model have in common: all but the key."""

    channel: str
    id_head: str
    id_tail: str
    body_head: str
    root: type[TaskRow]


def _is_plain(task: TaskRow, pk: object) -> bool:
    """Whether the message of ``task`` is of the form of its model: nothing in it is its own."""
    attributes = vars(task)
    return (
        (type(pk) is int or type(pk) is UUID)
        and "get_task_id" not in attributes
        and "get_task_data" not in attributes
        and "get_event_channel" not in attributes
        and "django_simpletask3_task_id_template" not in attributes
    )


def _form_of(model: type[TaskRow]) -> _Form | None:
    """The form of the messages of ``model``; None if a method of its own has a say in each."""
    if (
        model.get_task_id is not _GET_TASK_ID
        or model.get_task_data is not _GET_TASK_DATA
        or _function(model.get_event_channel) is not _GET_EVENT_CHANNEL
    ):
        return None
    return _form(
        model,
        model.django_simpletask3_task_id_template,
        model.django_simpletask3_event_queue_channel_template,
        generation(),
    )


def _function(method: object) -> object:
    return getattr(method, "__func__", None)


# As they are, whatever a test puts in their places.
_GET_TASK_ID, _GET_TASK_DATA = TaskRow.get_task_id, TaskRow.get_task_data
_GET_EVENT_CHANNEL = _function(TaskRow.get_event_channel)


@lru_cache(maxsize=1000)
def _form(model: type[TaskRow], *_origin: object) -> _Form | None:
    """The form of the messages of ``model``, as long as that which it follows from is the same."""
    template = model.django_simpletask3_task_id_template or options.task_id_template
    if template.count("{id") != 1 or "{id}" not in template or "{{" in template:
        return None
    names = {"app_label": model._meta.app_label, "model_name": model._meta.model_name}
    head, tail = template.format(**names, id=_KEY).split(_KEY)
    # Texts that need no escapes, and are not too long with any key.
    if dumps(head + tail) != f'"{head}{tail}"' or len(head + tail) > _MAX_SIMPLE_ID:
        return None
    body_head = dumps({**names, "id": 0}).removesuffix("0}")
    return _Form(model.get_event_channel(), head, tail, body_head, table_model(model))

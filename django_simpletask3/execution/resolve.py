"""Load the rows that messages name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

from django.db import connections, router

from ..db import clock
from ..db.errors import may_be_transient
from ..db.loading import load_tasks
from ..dispatch import push
from ..exceptions import QueueUnavailable
from ..ledger.task_row import table_model
from ..logs import get_logger
from ..models.queryset import rows_of
from ..models.registry import may_live_in
from ..models.task import SimpleTask
from ..queue import Message, get_queue
from ..transitions.expiry import limit_check_at

_logger = get_logger(__name__)

_MAX_REASON = 500


def resolve_due_tasks(
    model: type[SimpleTask], messages: Sequence[Message]
) -> dict[Message, SimpleTask]:
    """The tasks that may run now, by the messages that name them and in their order.

    A message that names no row, or a row that cannot be read, becomes a dead letter with its
    reason. If the row was saved as another model than ``model``, a message of that model is pushed.
    """
    tasks_by_message: dict[Message, SimpleTask] = {}
    for using, by_pk in group_messages(model, messages).items():
        tasks = _load_readable(model, using, by_pk)
        push.push(task for task in tasks.values() if type(task) is not model)
        own_tasks = {pk: task for pk, task in tasks.items() if type(task) is model}
        now = clock.now(using)
        not_yet_due = [t for t in own_tasks.values() if not clock.is_due(t.run_after, now)]
        _postpone_check(not_yet_due, using)
        tasks_by_message |= {
            m: own_tasks[pk]
            for pk, m in by_pk.items()
            if pk in own_tasks and own_tasks[pk] not in not_yet_due
        }
    return tasks_by_message


def parse_target(
    model: type[SimpleTask], message: Message, may_hold: Callable[[str], bool] | None = None
) -> tuple[str, Any]:
    """Parse the database and the key of the row; raises ValueError if the message has none.

    ``may_hold`` tells whether routers and settings let rows of ``model`` be in a database.
    """
    may_hold = may_hold or partial(may_live_in, model)
    data = _rebuild_data(model, message) if message.problem == "no_body" else message.data
    if not isinstance(data, dict):
        raise ValueError(f"malformed message: {message.problem or type(data).__name__}")
    label = (data.get("app_label"), data.get("model_name"))
    if label != (model._meta.app_label, model._meta.model_name):
        raise ValueError(f"message for another model: {label[0]}.{label[1]}")
    if data.get("id") is None:
        raise ValueError("message without id")
    try:
        pk = model._meta.pk.to_python(data["id"])
    except Exception:
        raise ValueError(f"not a key of {model._meta.label}: {data['id']!r}") from None
    using = data.get("using") or router.db_for_write(model)
    # Before it is asked for the row: a database that is down would delay the other messages.
    if not isinstance(using, str) or not may_hold(using):
        raise ValueError(f"message for a database that holds no {model._meta.label}: {using}")
    return using, pk


def group_messages(
    model: type[SimpleTask], messages: Sequence[Message]
) -> dict[str, dict[Any, Message]]:
    """The messages by database and key; of two for one row the first. Others are dead letters."""
    messages_by_database: dict[str, dict[Any, Message]] = {}
    may_hold = cache(partial(may_live_in, model))
    for message in messages:
        try:
            using, pk = parse_target(model, message, may_hold)
            messages_by_database.setdefault(using, {}).setdefault(pk, message)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _dead_letter(message, str(error))
    return messages_by_database


def _load_readable(
    model: type[SimpleTask], using: str, by_pk: dict[Any, Message]
) -> dict[Any, SimpleTask]:
    """The rows by key; the message of a row that cannot be read becomes a dead letter."""
    root = table_model(model)
    try:
        return {task.pk: task for task in load_tasks(root, using, by_pk)}
    except Exception as error:
        if may_be_transient(error):
            raise
        if len(by_pk) == 1:
            [message] = by_pk.values()
            _dead_letter(message, f"row cannot be read: {error!r}")
            return {}
    return {
        key: task
        for pk, message in by_pk.items()
        for key, task in _load_readable(model, using, {pk: message}).items()
    }


def _postpone_check(tasks: Iterable[SimpleTask], using: str) -> None:
    # The clock of the process that pushed may be ahead of ours.
    for task in tasks:
        rows = rows_of(type(task), using).pending().filter(pk=task.pk)
        rows.update_managed(check_at=limit_check_at(type(task), task.run_after))


def _dead_letter(message: Message, reason: str) -> None:
    """Set the message aside; never raises: one message must not stop the others."""
    reason = reason[:_MAX_REASON]  # it may quote the message
    _logger.error("message_dead_lettered id=%s reason=%s", message.id, reason)
    try:
        get_queue().dead_letter(message, reason)
    except QueueUnavailable as error:
        _logger.debug("dead_letter_failed id=%s error=%s", message.id, error)


def _rebuild_data(model: type[SimpleTask], message: Message) -> dict[str, Any]:
    """The data of a message that Redis has lost, from its id."""
    head, _, tail = _unsaved_task(model, "\0").get_task_id().partition("\0")
    key_and_database = message.id.removeprefix(head)
    # The id of a row in another database than the router's ends with that database.
    key, _, using = key_and_database.rpartition("@")
    if using not in connections:
        key, using = key_and_database, ""
    data = {"app_label": model._meta.app_label, "model_name": model._meta.model_name}
    return {**data, "id": key.removesuffix(tail), "using": using}


def _unsaved_task(model: type[SimpleTask], pk: object) -> SimpleTask:
    task = model()
    task.pk = pk
    return task

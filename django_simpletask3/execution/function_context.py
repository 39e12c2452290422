"""Run the task function in the context in which its task was enqueued: actor and data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.utils.functional import SimpleLazyObject

from ..context import EMPTY_CONTEXT, TaskContext, current, current_user, lazy_context
from ..ledger.event import events_of
from ..ledger.task_row import task_reference
from ..models.task import SimpleTask
from ..states import EventKind

_TASK_ONLY_KEYS = frozenset({"parent", "model", "adopted"})


@contextmanager
def inherit_context(task: SimpleTask) -> Iterator[None]:
    """Within the block, the context of the enqueue event is current, and ``task`` is the parent.

    It is read from the stream when it is first needed.
    """
    with lazy_context(_context_loader(task)), set_integration_contexts():
        yield


def _context_loader(task: SimpleTask) -> Callable[[], TaskContext]:
    def load() -> TaskContext:
        stream = events_of(type(task), task._state.db)
        enqueue_event = stream.filter(task=task.pk, kind=EventKind.ENQUEUE).last()
        enqueue_context = (
            EMPTY_CONTEXT
            if enqueue_event is None
            else TaskContext(enqueue_event.actor, "", _inheritable_data(enqueue_event.data))
        )
        return replace(enqueue_context, parent=task_reference(task))

    return load


def _inheritable_data(data: object) -> dict[str, object]:
    """The data of the enqueuing context, without what describes only that task."""
    details = data if isinstance(data, dict) else {}
    return {key: value for key, value in details.items() if key not in _TASK_ONLY_KEYS}


def set_integration_contexts() -> AbstractContextManager[None]:
    """Within the block, installed packages know the actor and the task."""
    return (
        _enter_contexts(integrations)
        if (integrations := _installed_integrations())
        else nullcontext()
    )


@contextmanager
def _enter_contexts(
    integrations: Iterable[Callable[[], AbstractContextManager[Any]]],
) -> Iterator[None]:
    with ExitStack() as stack:
        for integration in integrations:
            stack.enter_context(integration())
        yield


def _installed_integrations() -> list[Callable[[], AbstractContextManager[object]]]:
    """How those that are installed are informed; every body asks, and the answer seldom changes."""
    global _cached_integrations
    if (
        _cached_integrations[0] is not apps.app_configs
    ):  # another one, whenever other apps are installed
        integrations = [i for app, i in _INTEGRATIONS.items() if apps.is_installed(app)]
        _cached_integrations = (apps.app_configs, integrations)
    return _cached_integrations[1]


def _auditlog() -> AbstractContextManager[object]:
    from auditlog.context import set_actor

    # Asked for when something is noted: most bodies change nothing that is.
    actor_context: AbstractContextManager[Any] = set_actor(SimpleLazyObject(current_user))
    return actor_context


def _pghistory() -> AbstractContextManager[object]:
    import pghistory

    current_context = current()
    metadata: dict[str, Any] = {
        "user": current_context.data.get("user"),
        "actor": current_context.actor,
        "task": current_context.parent,
    }
    event_context: AbstractContextManager[Any] = pghistory.context(
        **{name: value for name, value in metadata.items() if value}
    )
    return event_context


_INTEGRATIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "auditlog": _auditlog,
    "pghistory": _pghistory,
}


_cached_integrations: tuple[Any, list[Callable[[], AbstractContextManager[Any]]]] = (None, [])

"""Run the task function in the context in which its task was enqueued: actor and data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.utils.functional import SimpleLazyObject

from ...context import (
    EMPTY_CONTEXT,
    RESERVED_KEYS,
    TaskContext,
    current,
    current_user,
    running_task,
)
from ...ledger.event import events_of
from ...ledger.task_row import task_reference
from ...models.task import SimpleTask
from ...states import EventKind

Integration = Callable[[], AbstractContextManager[object]]

#: What of an event's data describes that event or its task, and not who acts and why.
_OWN_KEYS = RESERVED_KEYS - {"cause"}


def inherit_context(task: SimpleTask) -> AbstractContextManager[None]:
    """Within the block, ``task`` is current, and so is the context of its enqueue event.

    ``task`` is the parent of tasks that are enqueued there. The context is read from the stream
    when it is first needed. Installed auditing packages are given the actor and the task.
    """
    own = running_task(task, _context_loader(task))
    integrations = _installed_integrations()
    return _within(own, integrations) if integrations else own


@contextmanager
def _within(
    own: AbstractContextManager[None], integrations: Iterable[Integration]
) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(own)
        for integration in integrations:
            stack.enter_context(integration())
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
    return {key: value for key, value in details.items() if key not in _OWN_KEYS}


def _installed_integrations() -> list[Integration]:
    """The contexts of the installed packages; remembered, because every run needs them."""
    global _cached_integrations
    # Django makes another dict whenever other apps are installed.
    if _cached_integrations[0] is not apps.app_configs:
        integrations = [i for app, i in _INTEGRATIONS.items() if apps.is_installed(app)]
        _cached_integrations = (apps.app_configs, integrations)
    return _cached_integrations[1]


def _auditlog() -> AbstractContextManager[object]:
    from auditlog.context import set_actor

    # Lazy: most task functions change nothing that auditlog records.
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

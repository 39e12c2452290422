"""Who acts, and why: written into every event, and current again while the task runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware


@dataclass(frozen=True, slots=True)
class TaskContext:
    """A text snapshot of who acts and why, and further data for the event."""

    actor: str = ""
    reason: str = ""
    data: dict[str, Any] = field(default_factory=dict)


NOBODY = TaskContext()
_current: ContextVar[TaskContext | Callable[[], TaskContext]] = ContextVar(
    "django_simpletask3_context", default=NOBODY
)


def current() -> TaskContext:
    """The context in force here."""
    found = _current.get()
    if callable(found):
        found = found()
        _current.set(found)
    return found


@contextmanager
def task_context(
    actor: object | None = None, reason: str | None = None, **data: Any
) -> Iterator[TaskContext]:
    """Within the block, events carry ``actor`` (as text), ``reason`` and ``data``.

    What is not given stays as it is outside the block; ``data`` is merged.
    """
    outer = current()
    inner = TaskContext(
        actor=outer.actor if actor is None else str(actor),
        reason=outer.reason if reason is None else reason,
        data={**outer.data, **data},
    )
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)


@contextmanager
def recalled(load: Callable[[], TaskContext]) -> Iterator[None]:
    """Within the block, the context is what ``load`` returns; it is called when first needed."""
    token = _current.set(load)
    try:
        yield
    finally:
        _current.reset(token)


def request_context(request: Any) -> TaskContext:
    """The context of a request: its user as actor, its method and path as data."""
    user = getattr(request, "user", None)
    actor = str(user) if user is not None and user.is_authenticated else ""
    return TaskContext(actor=actor, data={"request": f"{request.method} {request.path}"})


@sync_and_async_middleware
def task_context_middleware(get_response: Any) -> Any:
    """Middleware: tasks touched by a request carry its user; place it after authentication."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: Any) -> Any:
            with recalled(lambda: request_context(request)):
                return await get_response(request)

        return asynchronous

    def synchronous(request: Any) -> Any:
        with recalled(lambda: request_context(request)):
            return get_response(request)

    return synchronous

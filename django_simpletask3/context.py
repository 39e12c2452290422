"""What is current: the actor and the reason of an event, and the task whose function runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ValidationError
from django.utils.decorators import sync_and_async_middleware


@dataclass(frozen=True, slots=True)
class TaskContext:
    """A snapshot of the actor and the reason as text, and further data for the event."""

    actor: str = ""
    reason: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    #: The task whose function is running, as ``task_reference()`` gives it; else empty.
    parent: str = ""


EMPTY_CONTEXT = TaskContext()

#: Keys of ``data`` that describe the one event, or the one task, into which the package writes
#: them. docs/reference/events.md explains each.
RESERVED_KEYS = frozenset(
    {
        "adopted",
        "attempt",
        "cause",
        "claim",
        "current_attempt",
        "current_worker",
        "dependents",
        "erased",
        "error",
        "exit_code",
        "forced",
        "expires_at",
        "found",
        "group",
        "head",
        "key_freed",
        "limit",
        "losses",
        "lost_worker",
        "model",
        "name",
        "parent",
        "payload_salt",
        "phase",
        "place",
        "process_losses",
        "progress",
        "ran_seconds",
        "refused",
        "replaces",
        "restart",
        "result",
        "retry_in",
        "run_after",
        "schedule",
        "seconds",
        "snooze_in",
        "suspects",
        "tick",
        "traceback",
        "unique",
        "value",
        "worker",
    }
)
#: Keys of ``data`` that describe who acts: ``task_context()`` takes them, and a task inherits them.
CONTEXT_KEYS = frozenset({"user", "request", "request_id"})

_USER = "user"
#: Characters of a text that a client chooses.
_MAX_LENGTH = 200
_current: ContextVar[TaskContext | Callable[[], TaskContext]] = ContextVar(
    "django_simpletask3_context", default=EMPTY_CONTEXT
)
_running: ContextVar[Any] = ContextVar("django_simpletask3_running_task", default=None)


class RunningTask(Protocol):
    """What ``current_task()`` returns: an instance of a task model, with the columns of its own."""

    pk: Any
    attempt: int

    @property
    def should_stop(self) -> bool: ...

    @property
    def is_worker_stopping(self) -> bool: ...

    def check_stop(self) -> None: ...

    def note(self, reason: str = "", **data: Any) -> Any: ...

    def __getattr__(self, name: str) -> Any: ...


def current() -> TaskContext:
    """The current context."""
    context = _current.get()
    if callable(context):
        context = context()
        _current.set(context)
    return context


def current_task() -> RunningTask | None:
    """The task whose function is running, the same instance; None outside of a task function.

    It follows the context of Python: coroutines, ``asyncio.to_thread()``, ``sync_to_async()``,
    threads that run in ``contextvars.copy_context()``, and forked processes have it, too. A plain
    thread has none.
    """
    task: RunningTask | None = _running.get()
    return task


@contextmanager
def running_task(task: Any, load: Callable[[], TaskContext]) -> Iterator[None]:
    """Within the block, ``task`` is the current task, and the context is as in ``lazy_context``."""
    task_token, token = _running.set(task), _current.set(load)
    try:
        yield
    finally:
        _current.reset(token)
        _running.reset(task_token)


@contextmanager
def task_context(
    actor: object | None = None, reason: str | None = None, **data: Any
) -> Iterator[TaskContext]:
    """Within the block, events carry ``actor`` (as text), ``reason`` and ``data``.

    What is not given stays as it is outside the block; ``data`` is merged. If the actor is a user,
    the key is kept in the data, too: ``current_user()`` finds it. Raises ValueError if the package
    writes a key of ``data`` itself.
    """
    reject_keys(data, RESERVED_KEYS)
    outer = current()
    data = {**_user_key(actor), **data}
    inner = TaskContext(
        actor=outer.actor if actor is None else str(actor),
        reason=outer.reason if reason is None else reason,
        data={**outer.data, **data},
        parent=outer.parent,
    )
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)


def reject_keys(data: Iterable[str], reserved: frozenset[str]) -> None:
    """Raise ValueError, naming them, if keys of ``data`` are ``reserved``."""
    if found := ", ".join(sorted(reserved.intersection(data))):
        raise ValueError(f"The package itself writes {found} into events: choose another key.")


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Within the block, ``actor`` is the actor, unless there already is one."""
    with task_context(actor=current().actor or actor):
        yield


@contextmanager
def following_event(parent: str, actor: str, cause: str) -> Iterator[None]:
    """Within the block, events have ``cause`` in their data, and new tasks have this ``parent``.

    ``actor`` is the actor, unless there already is one.
    """
    outer = current()
    data = {**outer.data, "cause": cause}
    token = _current.set(TaskContext(outer.actor or actor, outer.reason, data, parent))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def acting_for_schedule(key: str, tick: str | None = None) -> Iterator[None]:
    """Within the block, new tasks have the ``schedule`` in the data of their ``enqueue`` event.

    With ``tick``, which is there, too, the schedule is the actor; else the current one is.
    """
    outer = current()
    if tick is None:
        inner = TaskContext(outer.actor, outer.reason, {**outer.data, "schedule": key})
    else:
        inner = TaskContext(f"schedule {key}", data={"schedule": key, "tick": tick})
    token = _current.set(inner)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def lazy_context(load: Callable[[], TaskContext]) -> Iterator[None]:
    """Within the block, the context is what ``load`` returns; it is called when first needed."""
    token = _current.set(load)
    try:
        yield
    finally:
        _current.reset(token)


def request_context(request: Any) -> TaskContext:
    """The context of a request: its user as actor; method, path, user and id as data.

    The id is the value of the header ``X-Request-ID``, if a proxy sends it. A path that contains a
    secret can be replaced: set ``request.django_simpletask3_path``. Each text is cut.
    """
    path = getattr(request, "django_simpletask3_path", request.path)
    data = {"request": f"{request.method} {path}"[:_MAX_LENGTH]}
    if name := request.headers.get("X-Request-ID"):
        data["request_id"] = name[:_MAX_LENGTH]
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return TaskContext(data=data)
    return TaskContext(actor=str(user), data={**data, **_user_key(user)})


def _user_key(actor: Any) -> dict[str, str]:
    is_user = getattr(actor, "is_authenticated", False) is True
    return {_USER: str(actor.pk)} if is_user and actor.pk is not None else {}


def current_user() -> Any:
    """The user of the request, or the user whose request enqueued the running task.

    None without a user, or if the user was deleted. One query for each call.
    """
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    try:
        return users.filter(pk=current().data[_USER]).first()
    except (KeyError, ValueError, ValidationError):
        return None


@sync_and_async_middleware
def task_context_middleware(get_response: Any) -> Any:
    """Middleware: tasks touched by a request carry its user; place it after authentication."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: Any) -> Any:
            with lazy_context(lambda: request_context(request)):
                return await get_response(request)

        return asynchronous

    def synchronous(request: Any) -> Any:
        with lazy_context(lambda: request_context(request)):
            return get_response(request)

    return synchronous

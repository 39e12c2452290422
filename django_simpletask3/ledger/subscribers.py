"""The durable subscribers of this process: which events each of them receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

from ..states import EventKind

Handler = TypeVar("Handler", bound=Callable[..., object])

_MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Has ``handler`` called with each event of ``kinds`` of tasks of ``models``."""

    name: str
    models: tuple[type[Any], ...]
    kinds: frozenset[EventKind]
    max_attempts: int
    handler: Callable[..., object]

    def is_interested_in(self, model: type[Any], kind: str) -> bool:
        """Whether it receives events of ``kind`` of tasks of ``model``."""
        return kind in self.kinds and issubclass(model, self.models)


_subscribers: dict[str, Subscriber] = {}


def registered_subscribers() -> Mapping[str, Subscriber]:
    """The subscribers of this process, by name."""
    return MappingProxyType(_subscribers)


def subscribe(
    name: str,
    models: type[Any] | Iterable[type[Any]],
    *,
    kinds: Iterable[EventKind | str] = tuple(EventKind),
    max_attempts: int = 20,
) -> Callable[[Handler], Handler]:
    """Decorator: have ``handler(task, event)`` called at least once with each of these events.

    A delivery is written in the transaction of the event, for tasks of ``models`` (one model, or
    several; SimpleTask means all), and done by a server after the commit: in the order of the
    events of each task, outside of a transaction, and again after 1, 2, 4, ... seconds (at most an
    hour) while the handler raises. After ``max_attempts`` the delivery is dead; it waits in the
    admin, and so do the later ones of its task. ``task`` is None if the row is gone.

    ``name`` is stored: it must not change when the handler is moved. Raises ImproperlyConfigured if
    another handler has it, and for unusable arguments.
    """
    if not 0 < len(name) <= _MAX_NAME_LENGTH:
        raise ImproperlyConfigured(f"subscribe({name!r}): a name has 1 to 100 characters.")
    task_models = (models,) if isinstance(models, type) else tuple(models)
    if not task_models or not all(isinstance(model, type) for model in task_models):
        raise ImproperlyConfigured(f"subscribe({name!r}): name a task model, or several in a list.")
    if type(max_attempts) is not int or max_attempts < 1:
        raise ImproperlyConfigured(f"subscribe({name!r}): max_attempts is a number, 1 or more.")
    event_kinds = _parse_kinds(name, kinds)

    def register(handler: Handler) -> Handler:
        existing = _subscribers.get(name)
        if existing is not None and _qualified_name(existing.handler) != _qualified_name(handler):
            handlers = f"{_qualified_name(existing.handler)} and {_qualified_name(handler)}"
            raise ImproperlyConfigured(f"subscribe({name!r}): {handlers} have this name.")
        _subscribers[name] = Subscriber(name, task_models, event_kinds, max_attempts, handler)
        return handler

    return register


def unsubscribe(name: str) -> None:
    """Remove a subscriber; its deliveries wait until it is registered again."""
    _subscribers.pop(name, None)


def _parse_kinds(name: str, kinds: Iterable[EventKind | str]) -> frozenset[EventKind]:
    if isinstance(kinds, str):
        kinds = [kinds]
    try:
        return frozenset(EventKind(kind) for kind in kinds)
    except ValueError as error:
        known = ", ".join(EventKind)
        raise ImproperlyConfigured(f"subscribe({name!r}): {error}; there are {known}.") from None


def _qualified_name(handler: Callable[..., object]) -> str:
    return f"{handler.__module__}.{handler.__qualname__}"

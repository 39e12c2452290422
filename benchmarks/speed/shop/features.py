"""Optional features, switched on by name, so that their costs can be measured."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

from django_simpletask3 import signals
from django_simpletask3.context import task_context
from django_simpletask3.ledger import digests
from django_simpletask3.subscriptions import subscribe

_FEATURES: dict[str, Callable[[], object]] = {}


def feature(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Register the decorated function, which switches the feature on."""

    def register(switch: Callable[[], object]) -> Callable[[], object]:
        _FEATURES[name] = switch
        return switch

    return register


def switch_on(name: str) -> None:
    """Switch the feature on in this process; an empty name does nothing."""
    if name:
        _FEATURES[name]()


def enqueue_context(name: str) -> AbstractContextManager[object]:
    """Return the context manager in which a project with the feature enqueues tasks."""
    if name == "context":
        return task_context(actor="an actor", reason="a reason", request="GET /", order="4711")
    return nullcontext()


@feature("no digest")
def _without_digest() -> None:
    """Replace the functions of digests, to measure what digests cost."""
    real = digests.chained_digest
    for module in list(sys.modules.values()):
        if _is_ours(module) and getattr(module, "chained_digest", None) is real:
            module.chained_digest = lambda previous, content: "0" * 64  # type: ignore[attr-defined]
    digests.FirstDigests.at = lambda self, event_time: "0" * 64  # type: ignore[method-assign]


@feature("context")
def _context() -> None:
    """``enqueue_context`` does the work."""


@feature("subscription")
def _subscription() -> None:
    from benchmarks.speed.shop.models import Noop

    subscribe("benchmark", Noop, kinds=["ack"])(on_event)


@feature("signal")
def _signal() -> None:
    signals.task_succeeded.connect(on_signal)


@feature("event_recorded")
def _event_recorded() -> None:
    signals.event_recorded.connect(on_signal)


def on_event(task: Any, event: Any) -> None:
    """Do nothing; a subscriber."""


def on_signal(sender: Any, **kwargs: Any) -> None:
    """Do nothing; a receiver."""


def _is_ours(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] == "django_simpletask3"

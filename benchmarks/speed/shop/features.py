"""What a project may use or not, switched by name, so that its cost can be measured."""

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
    """Decorator: the function switches the feature on."""

    def register(switch: Callable[[], object]) -> Callable[[], object]:
        _FEATURES[name] = switch
        return switch

    return register


def switch_on(name: str) -> None:
    """Use the feature in this process; nothing for the empty name."""
    if name:
        _FEATURES[name]()


def enqueue_context(name: str) -> AbstractContextManager[object]:
    """In what a program saves its tasks that uses the feature."""
    if name == "context":
        return task_context(actor="an actor", reason="a reason", request="GET /", order="4711")
    return nullcontext()


@feature("no digest")
def _without_digest() -> None:
    """The package cannot be without: this tells what the digests cost."""
    real = digests.chained_digest
    for module in list(sys.modules.values()):
        if _is_ours(module) and getattr(module, "seal", None) is real:
            module.seal = lambda previous, **content: "0" * 64  # type: ignore[attr-defined]


@feature("context")
def _context() -> None:
    """See ``around_enqueue``."""


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
    """A subscriber that has nothing to do."""


def on_signal(sender: Any, **kwargs: Any) -> None:
    """A receiver that has nothing to do."""


def _is_ours(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] == "django_simpletask3"

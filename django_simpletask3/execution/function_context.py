"""What a running body inherits from whoever enqueued its task: who acts, why, and from what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.utils.functional import SimpleLazyObject

from ..context import NOBODY, TaskContext, current, current_user, recalled
from ..ledger.event import events_of
from ..ledger.task_row import name_of
from ..models.task import SimpleTask
from ..states import EventKind

_OF_ONE_TASK = frozenset({"parent", "model", "adopted"})


@contextmanager
def inherited(task: SimpleTask) -> Iterator[None]:
    """Within the block, the context of the enqueuing is current, and ``task`` is the parent.

    It is read from the stream when somebody asks for it.
    """
    with recalled(_context_of(task)), informed():
        yield


def _context_of(task: SimpleTask) -> Callable[[], TaskContext]:
    def load() -> TaskContext:
        stream = events_of(type(task), task._state.db)
        birth = stream.filter(task=task.pk, kind=EventKind.ENQUEUE).last()
        told = NOBODY if birth is None else TaskContext(birth.actor, "", _handed_on(birth.data))
        return replace(told, parent=name_of(task))

    return load


def _handed_on(data: Any) -> dict[str, Any]:
    """What the context of the enqueuing said, without what is said of that task alone."""
    said = data if isinstance(data, dict) else {}
    return {key: value for key, value in said.items() if key not in _OF_ONE_TASK}


def informed() -> AbstractContextManager[None]:
    """Within the block, the packages that are installed know who acts and for which task."""
    return _informed(installed) if (installed := _installed()) else nullcontext()


@contextmanager
def _informed(installed: Iterable[Callable[[], AbstractContextManager[Any]]]) -> Iterator[None]:
    with ExitStack() as stack:
        for inform in installed:
            stack.enter_context(inform())
        yield


def _installed() -> list[Callable[[], AbstractContextManager[Any]]]:
    """How those that are installed are informed; every body asks, and the answer seldom changes."""
    global _known
    if _known[0] is not apps.app_configs:  # another one, whenever other apps are installed
        found = [inform for app, inform in _NEIGHBORS.items() if apps.is_installed(app)]
        _known = (apps.app_configs, found)
    return _known[1]


def _auditlog() -> AbstractContextManager[Any]:
    from auditlog.context import set_actor

    # Asked for when something is noted: most bodies change nothing that is.
    found: AbstractContextManager[Any] = set_actor(SimpleLazyObject(current_user))
    return found


def _pghistory() -> AbstractContextManager[Any]:
    import pghistory

    told = current()
    who: dict[str, Any] = {"user": told.data.get("user"), "actor": told.actor, "task": told.parent}
    found: AbstractContextManager[Any] = pghistory.context(
        **{name: value for name, value in who.items() if value}
    )
    return found


_NEIGHBORS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "auditlog": _auditlog,
    "pghistory": _pghistory,
}


_known: tuple[Any, list[Callable[[], AbstractContextManager[Any]]]] = (None, [])

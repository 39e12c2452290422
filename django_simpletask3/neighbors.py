"""Other packages that note who did something: while a body runs, they find who enqueued it.

django-auditlog and django-pghistory keep a context of their own, filled from the request; where
they are installed it is filled for bodies, too. Django's LogEntry has none: whoever writes one asks
``context.current_user()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from django.apps import apps
from django.utils.functional import SimpleLazyObject

from .context import current, current_user


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

"""Give up a burst when one of its databases has failed for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from django.db import connections

from .threads import Answer, DatabaseThreads

_PING_SECONDS = 1.0
_GIVE_UP_SECONDS = 10.0
_REPLY_SECONDS = 0.25


class Patience:
    """Asks databases once a second whether they answer."""

    def __init__(self, aliases: Iterable[str]) -> None:
        self._aliases = sorted(set(aliases))
        self._threads: DatabaseThreads[None] = DatabaseThreads("burst")
        self._failing: dict[str, tuple[float, object]] = {}
        self._next = 0.0

    def step(self) -> str | None:
        """What is wrong if a database has failed for ten seconds, in one line; else None."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + _PING_SECONDS
        errors: dict[str, object] = {a.using: a.error for a in self._ping()}
        for using in self._aliases:
            error = errors.get(using, "it does not answer")
            if error is None:
                self._failing.pop(using, None)
            else:
                self._failing[using] = (self._failing.get(using, (now, ""))[0], error)
        for using, (since, error) in self._failing.items():
            if now - since >= _GIVE_UP_SECONDS:
                return f"database {using}: {' '.join(str(error).split())}"
        return None

    def _ping(self) -> list[Answer[None]]:
        works = {using: partial(_ping, using) for using in self._aliases}
        return self._threads.call(works, _REPLY_SECONDS)


def _ping(using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT 1")

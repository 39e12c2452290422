"""What is to be tried again, each after a rest that grows with its tries."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from ..conf.backoff import exponential_delay

_MAX_PAUSE = 3.0
#: What is due within this time (seconds) is taken along: after an outage one batch forms again.
_FIRST_PAUSE = 0.3

T = TypeVar("T", bound=Hashable)


class RetryQueue(Generic[T]):
    """Things that could not be done for now; used by one thread."""

    def __init__(self) -> None:
        self._tries: dict[T, int] = {}
        self._due_at: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._due_at)

    def put(self, things: Iterable[T]) -> None:
        """Keep ``things``, which were tried in vain once more, until they are due again."""
        now, rests = time.monotonic(), {}
        for thing in things:
            tries = self._tries[thing] = self._tries.get(thing, 0) + 1
            # Those that failed together as often come back together: in one batch.
            if tries not in rests:
                rests[tries] = exponential_delay(tries, base=0.1, cap=_MAX_PAUSE)
            self._due_at[thing] = now + rests[tries]

    def remove(self, things: Iterable[T]) -> None:
        """These were done: should they ever fail again, their rests begin anew."""
        for thing in things:
            self._tries.pop(thing, None)
            self._due_at.pop(thing, None)

    def seconds_until_due(self) -> float | None:
        """Seconds until something is due; None if there is nothing."""
        if not self._due_at:
            return None
        return max(0.0, min(self._due_at.values()) - time.monotonic())

    def pop_due(self) -> list[T]:
        """Take out what is due, and with it what soon will be."""
        if self.seconds_until_due() != 0.0:
            return []
        until = time.monotonic() + _FIRST_PAUSE
        due = [thing for thing, when in self._due_at.items() if when <= until]
        for thing in due:
            del self._due_at[thing]
        return due

    def all(self) -> list[T]:
        """Everything that waits to be tried again."""
        return list(self._due_at)

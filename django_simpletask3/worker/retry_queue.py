"""Items to try again, each after a pause that grows with its failures."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from ..retries import Exponential

_BACKOFF = Exponential(first=0.1, maximum=3.0)
#: Items due within these seconds are taken along: after an outage they form one batch again.
_BATCH_WINDOW = 0.3

T = TypeVar("T", bound=Hashable)


class RetryQueue(Generic[T]):
    """Items that failed with a transient error. Not thread-safe."""

    def __init__(self) -> None:
        self._tries: dict[T, int] = {}
        self._due_at: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._due_at)

    def put(self, items: Iterable[T]) -> None:
        """Keep ``items``, which have failed once more, until they are due again."""
        now, pauses = time.monotonic(), {}
        for item in items:
            tries = self._tries[item] = self._tries.get(item, 0) + 1
            # Items that failed together become due together, in one batch.
            if tries not in pauses:
                pauses[tries] = _BACKOFF(tries)
            self._due_at[item] = now + pauses[tries]

    def remove(self, items: Iterable[T]) -> None:
        """Forget ``items`` and how often they failed."""
        for item in items:
            self._tries.pop(item, None)
            self._due_at.pop(item, None)

    def seconds_until_due(self) -> float | None:
        """Seconds until an item is due; None if the queue is empty."""
        if not self._due_at:
            return None
        return max(0.0, min(self._due_at.values()) - time.monotonic())

    def pop_due(self, limit: int | None = None) -> list[T]:
        """Remove and return the items that are due now or within 0.3 seconds, at most ``limit``."""
        if self.seconds_until_due() != 0.0:
            return []
        until = time.monotonic() + _BATCH_WINDOW
        due = [item for item, when in self._due_at.items() if when <= until][:limit]
        for item in due:
            del self._due_at[item]
        return due

    def all(self) -> list[T]:
        """All items in the queue."""
        return list(self._due_at)

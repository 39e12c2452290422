"""What a node does beside running tasks: recovery, at several paces."""

from __future__ import annotations

import time
from collections.abc import Callable

from .. import recovery
from ..conf import options
from .identity import is_known_dead

_LOST_EVERY = 1.0
_MESSAGES_EVERY = 5.0


class Chores:
    """Run-once services, each with its pace in seconds."""

    def __init__(self) -> None:
        longest = options.simq_timeout_task_recovery_interval
        self._paces: list[tuple[Callable[[], int], float]] = [
            (recovery.lost, min(_LOST_EVERY, longest)),
            (lambda: recovery.deceased(is_known_dead), min(_MESSAGES_EVERY, longest)),
            (recovery.messages, min(_MESSAGES_EVERY, longest)),
            (recovery.strangers, longest),
        ]
        self._due = [0.0] * len(self._paces)

    def step(self) -> float:
        """Do what is due; the seconds until something is."""
        for index, (work, pace) in enumerate(self._paces):
            if time.monotonic() >= self._due[index]:
                self._due[index] = time.monotonic() + pace
                work()
        return max(0.0, min(self._due) - time.monotonic())

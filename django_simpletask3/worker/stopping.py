"""Whether this process is to stop, and how urgently."""

from __future__ import annotations

import threading


class Stopping:
    """Asked: claim no more and finish what runs. Insisted: give back at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._urgent = threading.Event()

    def ask(self) -> None:
        """Ask to stop in good order. May be called by a signal handler, and again."""
        self._asked.set()

    def insist(self) -> None:
        """Ask to stop at once. May be called by a signal handler, and again."""
        self._urgent.set()
        self._asked.set()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    @property
    def is_urgent(self) -> bool:
        return self._urgent.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds`` or until stopping is asked for; whether it is."""
        return self._asked.wait(seconds)

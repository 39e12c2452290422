"""Whether this process is to stop, and how urgently."""

from __future__ import annotations

import threading


class Stopping:
    """Asked: claim no more and finish what runs. Insisted: give back at once."""

    def __init__(self) -> None:
        # Reentrant, unlike that of an Event: a signal handler may ask while its own thread waits.
        self._changed = threading.Condition(threading.RLock())
        self._is_asked = self._is_urgent = False

    def ask(self) -> None:
        """Ask to stop in good order. May be called by a signal handler, and again."""
        self._is_asked = True
        with self._changed:
            self._changed.notify_all()

    def insist(self) -> None:
        """Ask to stop at once. May be called by a signal handler, and again."""
        self._is_urgent = True
        self.ask()

    @property
    def is_asked(self) -> bool:
        return self._is_asked

    @property
    def is_urgent(self) -> bool:
        return self._is_urgent

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds`` or until stopping is asked for; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_asked, seconds)

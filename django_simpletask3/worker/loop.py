"""A thread that does one thing again and again; it knows only time and stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import Error, connections

from ..conf.backoff import exponential_delay
from ..db.errors import may_be_transient
from ..exceptions import SimpleTaskError
from . import connections as worker_connections

_logger = logging.getLogger(__name__)


class Loop(threading.Thread):
    """Calls ``work`` until stopping is asked for; ``work`` returns the seconds to rest.

    An error is logged and followed by a growing rest; it never ends the thread.
    """

    def __init__(self, name: str, stopping: StopRequest, work: Callable[[], float]) -> None:
        super().__init__(name=name, daemon=True)
        self._stopping = stopping
        self._work = work
        self._failures = 0

    def run(self) -> None:
        try:
            while not self._stopping.is_requested:
                rest = self._run_once()
                if rest > 0:
                    self._stopping.wait(rest)
        finally:
            connections.close_all()

    def _run_once(self) -> float:
        try:
            rest = self._work()
        except BaseException as error:  # sys.exit() in a receiver does not end the thread
            self._failures += 1
            unforeseen = not (isinstance(error, SimpleTaskError | Error) or may_be_transient(error))
            _logger.warning("loop_failed thread=%s error=%s", self.name, error, exc_info=unforeseen)
            worker_connections.close_all()
            return exponential_delay(self._failures, base=0.2, cap=5.0)
        self._failures = 0
        if rest > 0:
            worker_connections.close_stale()
        else:
            # Work that never pauses must not keep a session for ever
            # (test_steps_without_a_rest_do_not_keep_a_session_that_is_old).
            worker_connections.close_broken()
        return rest


class StopRequest:
    """Asked: claim no more and finish what runs. Insisted: give back at once."""

    def __init__(self) -> None:
        # Reentrant, unlike that of an Event: a signal handler may ask while its own thread waits.
        self._changed = threading.Condition(threading.RLock())
        self._is_asked = self._is_urgent = False

    def request(self) -> None:
        """Ask to stop in good order. May be called by a signal handler, and again."""
        self._is_asked = True
        with self._changed:
            self._changed.notify_all()

    def force(self) -> None:
        """Ask to stop at once. May be called by a signal handler, and again."""
        self._is_urgent = True
        self.request()

    @property
    def is_requested(self) -> bool:
        return self._is_asked

    @property
    def is_forced(self) -> bool:
        return self._is_urgent

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds`` or until stopping is asked for; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_asked, seconds)

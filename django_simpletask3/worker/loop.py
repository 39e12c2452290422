"""A thread that repeats one function; it knows only time and the stop request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import Error, connections

from ..db.errors import may_be_transient
from ..exceptions import QueueUnavailable, SimpleTaskError
from ..logs import get_logger
from ..retries import Exponential
from . import connections as worker_connections

_logger = get_logger(__name__)

_BACKOFF = Exponential(first=0.2, maximum=5.0)


class Loop(threading.Thread):
    """Calls ``work`` until stop is requested; ``work`` returns the seconds to pause.

    An error is logged and followed by a growing pause; it never ends the thread.
    """

    def __init__(self, name: str, stop: StopRequest, work: Callable[[], float]) -> None:
        super().__init__(name=name, daemon=True)
        self._stop_request = stop
        self._work = work
        self._failures = 0
        self._is_woken = False

    def wake(self) -> None:
        """End the pause: ``work`` is called now, or once more if it just runs. Thread-safe.

        The pause after an error is kept.
        """
        self._is_woken = True
        self._stop_request.notify()

    def run(self) -> None:
        try:
            while not self._stop_request.is_requested:
                self._is_woken = False
                pause = self._run_once()
                if pause > 0:
                    self._stop_request.wait(pause, or_until=self._may_go_on)
        finally:
            connections.close_all()

    def _may_go_on(self) -> bool:
        return self._is_woken and not self._failures

    def _run_once(self) -> float:
        try:
            pause = self._work()
        except BaseException as error:  # sys.exit() in a receiver does not end the thread
            self._failures += 1
            is_unexpected = not (
                isinstance(error, SimpleTaskError | Error) or may_be_transient(error)
            )
            # Redis that is away is logged by the queue, once for all.
            level = logging.DEBUG if isinstance(error, QueueUnavailable) else logging.WARNING
            _logger.log(
                level, "loop_failed thread=%s error=%s", self.name, error, exc_info=is_unexpected
            )
            worker_connections.close_all()
            return _BACKOFF(self._failures)
        self._failures = 0
        if pause > 0:
            worker_connections.close_stale()
        else:
            # Work that never pauses must not keep a session past CONN_MAX_AGE
            # (test_steps_without_a_rest_do_not_keep_a_session_that_is_old).
            worker_connections.close_broken()
        return pause


class StopRequest:
    """A request to stop: claim no more and finish what runs; forced: return it at once."""

    def __init__(self) -> None:
        # Reentrant, unlike the lock of an Event: a signal handler may call request() while the same
        # thread is in wait().
        self._changed = threading.Condition(threading.RLock())
        self._is_requested = self._is_forced = False

    def request(self) -> None:
        """Request an orderly stop. Safe in a signal handler; may be called again."""
        self._is_requested = True
        self.notify()

    def force(self) -> None:
        """Request an immediate stop. Safe in a signal handler; may be called again."""
        self._is_forced = True
        self.request()

    @property
    def is_requested(self) -> bool:
        return self._is_requested

    @property
    def is_forced(self) -> bool:
        return self._is_forced

    def notify(self) -> None:
        """Have threads that wait look again at what they wait for."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float, or_until: Callable[[], bool] = lambda: False) -> bool:
        """Sleep for ``seconds``, until stop is requested or, after ``notify()``, ``or_until``.

        Returns whether stop is requested.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_requested or or_until(), seconds)
        return self._is_requested

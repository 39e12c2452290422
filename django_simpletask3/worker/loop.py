"""A thread that does one thing again and again; it knows only time and stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import Error, connections

from ..backoff import exponential
from ..exceptions import SimpleTaskError
from ..faults import may_pass
from . import sessions
from .stopping import Stopping

_logger = logging.getLogger(__name__)


class Loop(threading.Thread):
    """Calls ``work`` until stopping is asked for; ``work`` returns the seconds to rest.

    An error is logged and followed by a growing rest; it never ends the thread.
    """

    def __init__(self, name: str, stopping: Stopping, work: Callable[[], float]) -> None:
        super().__init__(name=name, daemon=True)
        self._stopping = stopping
        self._work = work
        self._failures = 0

    def run(self) -> None:
        try:
            while not self._stopping.is_asked:
                rest = self._once()
                if rest > 0:
                    self._stopping.wait(rest)
        finally:
            connections.close_all()

    def _once(self) -> float:
        try:
            rest = self._work()
        except BaseException as error:  # sys.exit() in a receiver does not end the thread
            self._failures += 1
            unforeseen = not (isinstance(error, SimpleTaskError | Error) or may_pass(error))
            _logger.warning("loop_failed thread=%s error=%s", self.name, error, exc_info=unforeseen)
            sessions.drop()
            return exponential(self._failures, base=0.2, cap=5.0)
        self._failures = 0
        if rest > 0:
            sessions.tidy()
        else:
            # Work that never pauses must not keep a session for ever
            # (test_steps_without_a_rest_do_not_keep_a_session_that_is_old).
            sessions.mend()
        return rest

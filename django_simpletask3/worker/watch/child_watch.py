"""The watch over one child of a supervisor: it ends a child whose interpreter is held."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from ...logs import get_logger
from ...recovery.lost_workers import LostProcess
from ...recovery.service import INTERPRETER_HELD, TIME_LIMIT, WORKER_DIED
from ..time_limits import GIVE_UP_AFTER
from .activity import Activity, Mark
from .observed_clock import ObservedClock
from .stillness import Stillness

_logger = get_logger(__name__)

#: Seconds for which a task may hold the interpreter. The leases of the other tasks of its process
#: are not renewed meanwhile: a task with a longer time limit may hold it for a third of a lease.
_MAX_SECONDS = 30.0
_LEASE_PART = 1 / 3
_SHORTEST_LEASE_PART = 3.0
_MIN_SECONDS = 2.0  # below that, TimeLimits ends the task function
_SILENT_SECONDS = 5.0
_TRACES_SECONDS = 2.0  # until a child that writes its traces is killed
_MAX_TRACES = 100_000
#: The signals after which faulthandler names the thread that caused them.
_CRASHES = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}
_CRASHED_THREAD = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)


class ProcessTraces(Exception):
    """Where the threads of a process were when it was ended, as faulthandler writes it."""


class ChildWatch:
    """What a supervisor knows of one child beyond its process id.

    ``lease`` is the shortest lease of the tasks that it runs.
    """

    def __init__(self, activity: Activity, lease: float) -> None:
        self.activity = activity
        self.traces = _open_traces()
        self._limit = max(_SHORTEST_LEASE_PART, lease * _LEASE_PART)
        self._stillness: Stillness | None = None
        self._reason = WORKER_DIED
        self._suspects: list[Mark] = []
        self._kill_at: float | None = None

    @property
    def is_silent(self) -> bool:
        """Whether no thread of the child has run for five seconds."""
        return self._stillness is not None and self._stillness.silence >= _SILENT_SECONDS

    def step(self, pid: int, worker: str, clock: ObservedClock, seconds: float) -> None:
        """End the child ``pid`` if its interpreter is held; ``seconds`` since the last step."""
        if self._kill_at is not None:
            if time.monotonic() >= self._kill_at:
                _send(pid, signal.SIGKILL)
            return
        if self._stillness is None:
            self._stillness = Stillness(pid, self.activity)
        self._stillness.observe(seconds)
        suspects = self._stillness.suspects() if self._stillness.seconds >= _MIN_SECONDS else None
        if suspects is not None and (reason := self._reason_to_end(suspects, clock)):
            self._end(pid, worker, reason, suspects)

    def _reason_to_end(self, suspects: list[Mark], clock: ObservedClock) -> str:
        held = self._stillness.seconds if self._stillness else 0.0
        rests = [_rest_of(mark, clock) for mark in suspects]
        is_limited = bool(rests) and None not in rests
        if is_limited and all(rest is not None and rest <= 0 for rest in rests):
            return TIME_LIMIT
        longest = self._limit if is_limited else min(self._limit, _MAX_SECONDS)
        return INTERPRETER_HELD if held >= longest else ""

    def _end(self, pid: int, worker: str, reason: str, suspects: list[Mark]) -> None:
        _logger.error(
            "child_frozen worker=%s reason=%s seconds=%.1f suspects=%s",
            worker,
            reason,
            self._stillness.seconds if self._stillness else 0.0,
            ",".join(_keys(suspects)),
        )
        self._reason, self._suspects = reason, suspects
        self._kill_at = time.monotonic() + _TRACES_SECONDS
        # Python cannot run a handler while its interpreter is held: faulthandler's is written in C.
        _send(pid, signal.SIGABRT)

    def close(self) -> None:
        """Close the file of the traces."""
        if self.traces is not None:
            self.traces.close()

    def lost_process(self, worker: str, code: int) -> LostProcess:
        """What is known of the child, after it has died with this exit code. Logs its traces."""
        traces = self._read_traces()
        if traces:
            _logger.error("child_traces worker=%s", worker, exc_info=ProcessTraces(traces))
        if self._kill_at is None and not self.activity.has_ended:
            self._suspects = self._suspects_of_crash(traces, code)
        return LostProcess(worker, code, self._reason, _keys(self._suspects))

    def _suspects_of_crash(self, traces: str, code: int) -> list[Mark]:
        marks, ending = self.activity.marks(), self.activity.ending_thread
        # The last one: processes that a task function forked write to the same file.
        if not ending and -code in _CRASHES and (crashed := _CRASHED_THREAD.findall(traces)):
            ending = int(crashed[-1], 16)
        # Any task may have started a thread that is not among the marks.
        return [mark for mark in marks if mark.thread == ending] or marks

    def _read_traces(self) -> str:
        if self.traces is None:
            return ""
        with suppress(OSError):
            self.traces.seek(0)
            return self.traces.read(_MAX_TRACES).decode(errors="replace")
        return ""


def _open_traces() -> BinaryIO | None:
    """A file without a name; None if there is no place for it."""
    with suppress(OSError):
        if hasattr(os, "memfd_create"):  # Linux; needs no disk
            return os.fdopen(os.memfd_create("traces"), "r+b")
        return tempfile.TemporaryFile()
    return None


def _rest_of(mark: Mark, clock: ObservedClock) -> float | None:
    """The seconds after which a task is given up by its time limit; None without a limit."""
    if mark.time_limit is None:
        return None
    return mark.time_limit + GIVE_UP_AFTER - clock.seconds_since(mark.began)


def _keys(marks: Iterable[Mark]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark.key for mark in marks))


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

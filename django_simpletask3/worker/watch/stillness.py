"""How long the threads of a process have waited for its interpreter, and for which task."""

from __future__ import annotations

from .activity import Activity, Mark
from .threads import Samples, ThreadSample, sample_threads

#: A thread that waits for the interpreter looks for it two hundred times a second; on a machine
#: without a free processor less often.
_WAITS_PER_SECOND = 20.0
_USED_BY_HOLDER = 0.2  # the part of the time in which a thread computes that holds the interpreter
_MIN_WINDOW = 1.0  # seconds that two samples must be apart


class Stillness:
    """Watches the beats of one process. ``seconds`` is how long its interpreter has been held.

    What is no fault of a task does not count: a process that is stopped, or gets no processor.
    """

    def __init__(self, pid: int, activity: Activity) -> None:
        self._pid = pid
        self._activity = activity
        self._beats = -1
        self._start_over()

    def _start_over(self) -> None:
        self.silence = self._counted = self._delayed = 0.0
        self._first: Samples = {}
        self._last: Samples = {}
        self._window = 0.0

    @property
    def seconds(self) -> float:
        """For how many seconds the interpreter of the process has been held."""
        return max(0.0, self._counted - self._delayed)

    def observe(self, seconds: float) -> None:
        """Look at the beats; ``seconds`` have passed since the last look."""
        if self._activity.beats != self._beats:
            self._beats = self._activity.beats
            self._start_over()
            return
        silence = self.silence + seconds
        if self._beats:  # else it has not begun
            self._look_at_threads(seconds)
        self.silence = silence

    def _look_at_threads(self, seconds: float) -> None:
        before, now = self._last, sample_threads(self._pid)
        if any(sample.is_stopped for sample in now.values()):
            self._start_over()
        elif not before:
            self._first = self._last = now
            self._counted += 0.0 if now else seconds  # there is no /proc
        else:
            self._last = now
            self._window += seconds
            self._counted += seconds * self._is_waited_for(before, now)
            self._delayed = self._longest_delay()

    def _is_waited_for(self, before: Samples, now: Samples) -> bool:
        """Whether the thread that beats waits for the interpreter, not for memory or processor."""
        thread = self._activity.native_beat_thread
        if thread not in before or thread not in now:
            return False
        return now[thread].waits > before[thread].waits and now[thread].state != "D"

    def _longest_delay(self) -> float:
        """How long one of the threads that need the interpreter had no processor."""
        threads = {mark.native_thread for mark in self._activity.marks()}
        known = self._first.keys() & self._last.keys()
        threads = known & {*threads, self._activity.native_beat_thread}
        return max((self._last[t].delayed - self._first[t].delayed for t in threads), default=0.0)

    def suspects(self) -> list[Mark]:
        """The tasks of which one may hold the interpreter: one if there is evidence."""
        marks = self._activity.marks()
        if len(marks) < 2 or not self._first or self._window < _MIN_WINDOW:
            return marks
        busy = [mark for mark in marks if self._used(mark) >= _USED_BY_HOLDER]
        return busy or [mark for mark in marks if not self._is_waiting(mark)]

    def _used(self, mark: Mark) -> float:
        first, last = self._samples_of(mark)
        return (last.used - first.used) / self._window if first and last else 0.0

    def _is_waiting(self, mark: Mark) -> bool:
        first, last = self._samples_of(mark)
        waits = last.waits - first.waits if first and last else 0
        return waits / self._window >= _WAITS_PER_SECOND

    def _samples_of(self, mark: Mark) -> tuple[ThreadSample | None, ThreadSample | None]:
        return self._first.get(mark.native_thread), self._last.get(mark.native_thread)

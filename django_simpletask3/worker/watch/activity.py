"""What the threads of a worker process do, in memory that it shares with its supervisor."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from ...execution.run import Run
from ...ledger.task_row import KEY_BYTES, short_key

_HEADER = struct.Struct("=QQ")  # beats, and the thread that beats
_THREAD = struct.Struct("=Q")
#: Where the thread is that ends the process, the byte that says that it came to its own end, and
#: the first record.
_ENDING_THREAD = _HEADER.size
_ENDED = _ENDING_THREAD + _THREAD.size
_RECORDS = _ENDED + 1
_RECORD = struct.Struct(f"=?QQdd{KEY_BYTES}s")
_NO_LIMIT = -1.0
_BEAT_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Mark:
    """One task that a thread works on; ``began`` is by ``time.monotonic()``."""

    thread: int  # threading.get_ident()
    native_thread: int
    began: float
    time_limit: float | None
    key: str


class Activity:
    """The tasks that a process works on, and a count that grows while its threads can run.

    Make one for each process, before the fork; the supervisor reads it also after a crash.
    """

    def __init__(self, records: int) -> None:
        self._memory = mmap.mmap(-1, _RECORDS + records * _RECORD.size)
        self._records = records
        self._free = iter(range(records))

    @property
    def beats(self) -> int:
        """How often the threads of the process have got the interpreter."""
        return self._header()[0]

    @property
    def native_beat_thread(self) -> int:
        """The system's id of the thread that beats; 0 before its first beat."""
        return self._header()[1]

    @property
    def has_ended(self) -> bool:
        """Whether the process came to its own end, so that no task has ended it."""
        return bool(self._memory[_ENDED])

    @property
    def ending_thread(self) -> int:
        """The ``threading.get_ident()`` of the thread that called a function to end the process."""
        thread: int = _THREAD.unpack_from(self._memory, _ENDING_THREAD)[0]
        return thread

    def set_ending_thread(self, thread: int) -> None:
        """Publish which thread is about to end the process; 0 if none is."""
        _THREAD.pack_into(self._memory, _ENDING_THREAD, thread)

    def start_beats(self) -> None:
        """Beat in a thread of its own, which needs nothing but the interpreter."""
        threading.Thread(target=self._beat_for_ever, name="beats", daemon=True).start()

    def set_ended(self) -> None:
        """Record that the process ends by itself."""
        self._memory[_ENDED] = 1

    def recorder(self, count: int) -> Recorder:
        """``count`` records for one thread, or as many as are left."""
        records = islice(self._free, count)
        return Recorder(self._memory, [_RECORDS + n * _RECORD.size for n in records])

    def marks(self) -> list[Mark]:
        """The tasks that threads work on."""
        return list(self._marks())

    def _marks(self) -> Iterator[Mark]:
        for number in range(self._records):
            record = _RECORD.unpack_from(self._memory, _RECORDS + number * _RECORD.size)
            is_set, thread, native_thread, began, limit, key = record
            if is_set:
                text = key.rstrip(b"\0").decode(errors="replace")
                yield Mark(
                    thread, native_thread, began, None if limit == _NO_LIMIT else limit, text
                )

    def _header(self) -> tuple[int, int]:
        beats, thread = _HEADER.unpack_from(self._memory)
        return beats, thread

    def _beat_for_ever(self) -> None:
        thread = threading.get_native_id()
        while not self.has_ended:
            _HEADER.pack_into(self._memory, 0, self.beats + 1, thread)
            time.sleep(_BEAT_SECONDS)


class Recorder:
    """Publishes the tasks that one thread works on. Costs a copy of some bytes for each."""

    def __init__(self, memory: mmap.mmap, offsets: list[int]) -> None:
        self._memory = memory
        self._offsets = offsets
        self._threads = (0, 0)

    def begin(self, runs: Iterable[Run], *, is_limited: bool = True) -> None:
        """Publish ``runs``, or as many as there are records, as what the calling thread works on.

        With ``is_limited``, their time limits are in force from now on.
        """
        if self._threads[0] != threading.get_ident():
            self._threads = threading.get_ident(), threading.get_native_id()
        threads, now = self._threads, time.monotonic()
        for offset, run in zip(self._offsets, runs, strict=False):
            limit = run.task.get_time_limit() if is_limited else None
            key = short_key(type(run.task), run.using, run.pk)
            seconds = limit if isinstance(limit, int | float) else _NO_LIMIT
            _RECORD.pack_into(self._memory, offset, True, *threads, now, seconds, key.encode())

    def end(self) -> None:
        """Publish that the thread works on none of them any more."""
        for offset in self._offsets:
            self._memory[offset] = 0

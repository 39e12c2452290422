"""Time how long enqueueing takes, and how long a task waits for its start and its outcome."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.speed import trace

WARM_UP = 20
_POLL = 0.0002
_PAUSE = 0.005
#: Before a task whose outcome is awaited: the worker is idle again.
_REST = 0.02
_TIMEOUT_NS = 60_000_000_000
#: A worker that polls slowly gets no further tasks after so many and so long.
_FEW, _LONG_NS = 10, 5_000_000_000
THREADS = 4


def time_each(enqueue: Callable[[int], object], count: int) -> dict[str, Any]:
    """Enqueue ``count`` tasks one by one, after some that are not timed."""
    for number in range(WARM_UP):
        enqueue(number)
    return _timed(lambda: _repeat(enqueue, count)) | {"tasks": count, "warm_up": WARM_UP}


def time_batches(enqueue: Callable[[int], object], count: int, size: int = 1000) -> dict[str, Any]:
    """Enqueue ``count`` tasks, up to ``size`` per call."""

    def enqueue_all() -> None:
        for start in range(0, count, size):
            enqueue(min(size, count - start))

    return _timed(enqueue_all) | {"tasks": count, "warm_up": 0}


class Threads:
    """Some threads that enqueue at the same time; each keeps its connections."""

    def __init__(self, enqueue: Callable[[int], object]) -> None:
        self._enqueue = enqueue
        self._pool = ThreadPoolExecutor(THREADS)

    def time_each(self, count: int) -> dict[str, Any]:
        """Enqueue ``count`` tasks in all, after some that are not timed."""
        self._all(WARM_UP)
        return _timed(lambda: self._all(count)) | {"tasks": count, "warm_up": WARM_UP}

    def _all(self, count: int) -> None:
        shares = [count // THREADS] * THREADS
        list(self._pool.map(lambda share: _repeat(self._enqueue, share), shares))


def _timed(work: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of the work, and the processor seconds of this process in it."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def _repeat(enqueue: Callable[[int], object], count: int) -> None:
    for number in range(count):
        enqueue(number)


def count_calls(enqueue: Callable[[int], object], count: int) -> list[int]:
    """Return how many functions of Python each of ``count`` calls entered, after a warm-up."""
    entered = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    numbers = []
    for number in range(WARM_UP + count):
        entered = 0
        sys.setprofile(note)
        try:
            enqueue(number)
        finally:
            sys.setprofile(None)
        numbers.append(entered)
    return numbers[WARM_UP:]


def measure_latencies(enqueue: Callable[[int], object], count: int) -> dict[str, Any]:
    """Measure from each call of ``enqueue`` until the idle worker starts the task function."""
    path = os.environ["BENCH_TRACE"]
    taken: list[float] = []
    first = time.time_ns()
    for number in range(count):
        if number >= _FEW and time.time_ns() - first > _LONG_NS:
            break
        before = trace.count(path)
        began = time.time_ns()
        enqueue(number)
        _wait_for_start(path, before, began)
        taken.append((trace.times(path)[-1] - began) / 1e6)
        time.sleep(_PAUSE)
    return {"tasks": len(taken), "latencies_ms": taken}


def measure_outcomes(enqueue: Callable[[int], object], sql: str, count: int) -> dict[str, Any]:
    """Measure from each call of ``enqueue`` until the outcome is committed.

    ``enqueue`` returns the key for which ``sql`` finds a row then. PostgreSQL only.
    """
    import psycopg

    path = os.environ["BENCH_TRACE"]
    starts, outcomes = [], []
    url = os.environ["BENCH_DATABASE"]
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as session:
        for number in range(count):
            time.sleep(_REST)
            before = trace.count(path)
            began = time.time_ns()
            key = enqueue(number)
            _wait_for_start(path, before, began)
            while session.execute(sql, [key]).fetchone() is None:
                _check(began)
                time.sleep(_POLL / 4)
            outcomes.append((time.time_ns() - began) / 1e6)
            starts.append((trace.times(path)[-1] - began) / 1e6)
    return {"tasks": count, "latencies_ms": starts, "outcomes_ms": outcomes}


def _wait_for_start(path: str, before: int, began: int) -> None:
    while trace.count(path) == before:
        _check(began)
        time.sleep(_POLL)


def _check(began: int) -> None:
    if time.time_ns() - began > _TIMEOUT_NS:
        raise TimeoutError("the worker does not run the task")


def take_turns(cases: Mapping[str, Callable[[int], Mapping[str, Any]]]) -> None:
    """Answer each line of the input, a case and a number of tasks, by a line of JSON."""
    for line in sys.stdin:
        case, count = line.split()
        print(json.dumps(cases[case](int(count))), flush=True)

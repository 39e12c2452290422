"""Time how long enqueueing takes, and how long a task waits for its start."""

import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.speed import trace

WARM_UP = 20
_POLL = 0.0002
_PAUSE = 0.005
_TIMEOUT_NS = 60_000_000_000


def time_each(enqueue: Callable[[int], object], count: int) -> dict[str, Any]:
    """Enqueue ``count`` tasks one by one, after some that are not timed."""
    for number in range(WARM_UP):
        enqueue(number)
    began = time.perf_counter()
    for number in range(count):
        enqueue(number)
    return {"seconds": time.perf_counter() - began, "tasks": count, "warm_up": WARM_UP}


def time_batches(enqueue: Callable[[int], object], count: int, size: int = 1000) -> dict[str, Any]:
    """Enqueue ``count`` tasks, up to ``size`` per call."""
    began = time.perf_counter()
    for start in range(0, count, size):
        enqueue(min(size, count - start))
    return {"seconds": time.perf_counter() - began, "tasks": count, "warm_up": 0}


def measure_latencies(enqueue: Callable[[int], object], count: int) -> dict[str, Any]:
    """Measure from each call of ``enqueue`` until the idle worker starts the task function."""
    path = os.environ["BENCH_TRACE"]
    taken = []
    for number in range(count):
        before = trace.count(path)
        began = time.time_ns()
        enqueue(number)
        while trace.count(path) == before:
            if time.time_ns() - began > _TIMEOUT_NS:
                raise TimeoutError("the worker does not start the task")
            time.sleep(_POLL)
        taken.append((trace.times(path)[-1] - began) / 1e6)
        time.sleep(_PAUSE)
    return {"tasks": count, "latencies_ms": taken}

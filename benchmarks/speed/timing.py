"""How long enqueueing takes, and how long a task then waits for its body to begin."""

import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.speed import trace

WARM_UP = 20
_POLL = 0.0002
_REST = 0.005
_PATIENCE = 60_000_000_000


def time_each(enqueue: Callable[[int], object], count: int) -> dict[str, Any]:
    """Enqueue ``count`` tasks one by one, after a few that are not timed."""
    for number in range(WARM_UP):
        enqueue(number)
    began = time.perf_counter()
    for number in range(count):
        enqueue(number)
    return {"seconds": time.perf_counter() - began, "tasks": count, "warm_up": WARM_UP}


def time_batches(enqueue: Callable[[int], object], count: int, size: int = 1000) -> dict[str, Any]:
    """Enqueue ``count`` tasks by calls that take up to ``size`` at once."""
    began = time.perf_counter()
    for start in range(0, count, size):
        enqueue(min(size, count - start))
    return {"seconds": time.perf_counter() - began, "tasks": count, "warm_up": 0}


def measure_latencies(enqueue: Callable[[int], object], count: int) -> dict[str, Any]:
    """From just before each call until the body has begun, while an idle worker waits for it."""
    path = os.environ["BENCH_TRACE"]
    taken = []
    for number in range(count):
        before = trace.count(path)
        began = time.time_ns()
        enqueue(number)
        while trace.count(path) == before:
            if time.time_ns() - began > _PATIENCE:
                raise TimeoutError("the worker does not begin the task")
            time.sleep(_POLL)
        taken.append((trace.times(path)[-1] - began) / 1e6)
        time.sleep(_REST)
    return {"tasks": count, "latencies_ms": taken}

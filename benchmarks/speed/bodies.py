"""What a task does in a benchmark: it leaves its mark, and takes the given time."""

import os
import time

from benchmarks.speed import trace


def perform() -> None:
    """Mark the trace, then do what BENCH_BODY says: noop, sleep:0.01 or cpu:0.01 (seconds)."""
    trace.mark()
    kind, _, seconds = os.environ.get("BENCH_BODY", "noop").partition(":")
    if kind == "sleep":
        time.sleep(float(seconds))
    elif kind == "cpu":
        _burn(float(seconds))
    elif kind != "noop":
        raise ValueError(f"BENCH_BODY is {kind!r}, not noop, sleep:SECONDS or cpu:SECONDS")


def _burn(seconds: float) -> None:
    """Use the processor for so long; what other threads use meanwhile does not count."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))

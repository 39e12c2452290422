"""The task function of a benchmark: record the start, then run for the given time."""

import os
import time

from benchmarks.speed import trace


def perform() -> None:
    """Record the start in the trace, then run BENCH_BODY: noop, sleep:0.01, cpu:0.01 (seconds)."""
    trace.mark()
    kind, _, seconds = os.environ.get("BENCH_BODY", "noop").partition(":")
    if kind == "sleep":
        time.sleep(float(seconds))
    elif kind == "cpu":
        _burn(float(seconds))
    elif kind != "noop":
        raise ValueError(f"BENCH_BODY is {kind!r}, not noop, sleep:SECONDS or cpu:SECONDS")


def _burn(seconds: float) -> None:
    """Use so many seconds of processor time in this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))

"""Wait for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(predicate: Callable[[], T], timeout: float = 30.0, interval: float = 0.02) -> T:
    """What ``predicate`` returns as soon as it is true.

    Raises AssertionError, naming the last value, if it is still false after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"still {value!r} after {timeout} s: {predicate}")
        time.sleep(interval)
    return value

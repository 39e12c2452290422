"""Delays between tries."""

from __future__ import annotations

import random


def exponential_delay(
    tries: int, *, base: float = 1.0, cap: float = 300.0, jitter: float = 0.25
) -> float:
    """Seconds to wait after the ``tries``-th failure: ``base`` doubled each time, at most ``cap``.

    The result lies within ``jitter`` (a fraction) below that figure, so that tasks that failed
    together are not tried again together.
    """
    delay = min(cap, base * 2.0 ** min(max(tries - 1, 0), 62))
    return delay * (1.0 - jitter * random.random())  # noqa: S311 - spreads load, keeps no secret

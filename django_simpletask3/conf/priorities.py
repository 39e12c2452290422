"""The range of priorities, that of Django's tasks."""

from __future__ import annotations

#: Those above 0 are claimed first, those below 0 last.
PRIORITIES = range(-100, 101)


def nearest_priority(number: int) -> int:
    """The priority that is nearest to ``number``."""
    if number in PRIORITIES:
        return number
    return min(max(number, PRIORITIES.start), PRIORITIES.stop - 1)

"""How often a task's page asks for what is new, and whether anything is."""

from __future__ import annotations

from datetime import datetime
from math import ceil

from ..html.pills import State

#: For how many seconds a page stays as it is if there is no new event: durations grow, and a queue
#: may be paused.
MAX_AGE = 30
#: Seconds until the page of an unfinished task asks again.
_INTERVALS = {State.RUNNING: 1, State.WAITING: 5}
_MAX_INTERVAL = 30


def interval(state: State | None, run_after: datetime | None, now: datetime) -> int:
    """In how many seconds the page of a task in ``state`` asks again."""
    if state is State.SCHEDULED and run_after is not None:
        return min(_MAX_INTERVAL, max(1, ceil((run_after - now).total_seconds())))
    return _INTERVALS.get(state, _MAX_INTERVAL) if state is not None else _MAX_INTERVAL


def version(sequence: int, state: State | None, now: datetime) -> str:
    """A text that changes with the events and the state of a task, and every MAX_AGE seconds."""
    return f"{sequence}-{state}-{int(now.timestamp()) // MAX_AGE}"

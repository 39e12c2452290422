"""What a limit can give at one of its gates: free places, and starts that its rate allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..db import clock
from ..ledger.task_row import all_rows
from .limit import Limit
from .places import free_numbers
from .tables import LimitGate, LimitPlace

#: Called with the seconds until a task that waits may start.
_next_start_hooks: list[Callable[[float], object]] = []


def call_before_next_start(hook: Callable[[float], object]) -> None:
    """Let ``hook`` know in how many seconds the next of the tasks that wait here may start.

    It is called within a transaction, which may be rolled back.
    """
    _next_start_hooks[:] = [hook]


class Offer:
    """What a locked gate can give, beside what was given already.

    A task that waited is given a place, which is without a number if the limit has only a rate. Its
    start counts for the rate when it happens: until then, no other task gets what is its.
    """

    def __init__(
        self, gate: LimitGate, limit: Limit, places: Iterable[LimitPlace], using: str
    ) -> None:
        held = [place for place in places if place.gate_id == gate.pk]
        taken = {place.number for place in held if place.number is not None}
        self._gate = gate
        self._rate = limit.parsed_rate
        self._numbers = None if limit.running is None else free_numbers(limit.running, taken)
        self._given = sum(not place.worker for place in held)
        self._using = using
        self._now = clock.now(using)

    @property
    def count(self) -> int:
        """How many more tasks can go on."""
        counts = [] if self._numbers is None else [len(self._numbers)]
        if self._rate is not None:
            counts.append(self._rate.allowed(self._gate.arrival_time, self._now) - self._given)
        return max(0, min(counts))

    def take(self) -> int | None:
        """The number of a place for a task that starts now; None if the limit has no places."""
        self._count_start()
        return self._numbers.pop(0) if self._numbers is not None else None

    def give(self) -> int | None:
        """The number of a place for a task that starts later; None if the limit has no places."""
        self._given += 1
        return self._numbers.pop(0) if self._numbers is not None else None

    def take_back(self, number: int | None) -> None:
        """Offer the place again that a task was given which does not go on."""
        self._given -= 1
        if self._numbers is not None and number is not None:
            self._numbers.insert(0, number)

    def start_given(self, place: LimitPlace) -> bool:
        """Let the task start that was given ``place``; False if the rate does not allow it."""
        if self._rate and not self._rate.allowed(self._gate.arrival_time, self._now):
            return False  # two nodes know the time of the database only nearly, or it was set back
        self._given -= not place.worker
        self._count_start()
        return True

    def _count_start(self) -> None:
        if self._rate is not None:
            arrival_time = self._rate.after_start(self._gate.arrival_time, self._now)
            self._gate.arrival_time = arrival_time

    def save(self, *, is_awaited: bool) -> None:
        """Write what the rate has counted, and when the next one of those that wait may start.

        While no place is free, the end of a task lets the next one go on, and not the time.
        """
        if self._rate is None:
            forget_rate(self._gate, self._using)
            return
        gate, has_place = self._gate, self._numbers != []
        gate.next_start_at = None
        if is_awaited and has_place:
            next_start_at = self._rate.time_of(gate.arrival_time, self._given + 1)
            # Without one, others have to start first, which they may do at any moment.
            gate.next_start_at = next_start_at or self._now + self._rate.step
        all_rows(LimitGate, self._using).filter(pk=gate.pk).update(
            arrival_time=gate.arrival_time, next_start_at=gate.next_start_at
        )
        if gate.next_start_at is not None:
            for hook in _next_start_hooks:
                hook((gate.next_start_at - self._now).total_seconds())


def forget_rate(gate: LimitGate, using: str) -> None:
    """Let ``gate``, whose limit has no rate any more, have nothing to do at a time."""
    if gate.next_start_at is not None or gate.arrival_time is not None:
        gate.next_start_at = gate.arrival_time = None
        all_rows(LimitGate, using).filter(pk=gate.pk).update(next_start_at=None, arrival_time=None)

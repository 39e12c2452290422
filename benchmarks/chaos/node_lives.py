"""When processes of nodes lived, by what the run has seen, and when something held them up."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

#: Seconds that a process of a node has to set itself up.
_START = 4.0
#: Seconds after an outage in which processes may still pause.
_PAUSE = 8.0


@dataclass(slots=True)
class NodeLives:
    """The processes that fire ticks, by their pids; times are those of ``time.time()``."""

    first_seen: dict[int, float] = field(default_factory=dict)
    last_seen: dict[int, float] = field(default_factory=dict)
    frozen: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    outages: list[tuple[float, float, str]] = field(default_factory=list)

    def see(self, pids: list[int], now: float) -> None:
        """Note that these processes live."""
        for pid in pids:
            self.first_seen.setdefault(pid, now)
            self.last_seen[pid] = now

    def covers(self, begin: datetime, end: datetime) -> bool:
        """Whether a process lived all the time, was not frozen, and could use the database."""
        first, last = begin.timestamp(), end.timestamp()
        if any(
            name in ("database", "rows") and start < last and until + _PAUSE > first
            for start, until, name in self.outages
        ):
            return False
        return any(
            self.first_seen[pid] + _START < first
            and self.last_seen[pid] > last
            and not any(first - _START < moment < last for moment in self.frozen.get(pid, ()))
            for pid in self.first_seen
        )

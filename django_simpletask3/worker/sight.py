"""Whether a database was out of sight: who saw nothing gives the others time to be seen."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from .. import clock

#: Seconds without a look after which a database counts as having been out of sight, and those that
#: the workers then have to renew their leases (Leases tries every second while it cannot).
_LONGEST_GAP = 5.0
_TIME_TO_RENEW = timedelta(seconds=5)


class Sight:
    """What one process has seen of each database, by that database's own clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[str, datetime] = {}
        self._clear_from: dict[str, datetime] = {}

    def is_clear(self, using: str) -> bool:
        """Note a look at ``using``, whose clock was just read; whether its leases may be judged.

        After an outage all leases have ended, and the workers that held them live: whoever could
        not see cannot know (test_an_outage_longer_than_the_lease_costs_no_running_task_its_claim).
        """
        now = clock.now(using)
        is_late = self._gap(using, now) > _LONGEST_GAP
        self._seen[using] = now
        if is_late:
            # Not anew while one waits: a database that is always slow is judged all the same.
            self._clear_from.setdefault(using, now + _TIME_TO_RENEW)
        if now < self._clear_from.get(using, now):
            return False
        self._clear_from.pop(using, None)
        return True

    def _gap(self, using: str, now: datetime) -> float:
        """Seconds since the last look; since the beginning, if this is the first that succeeds."""
        last = self._seen.get(using)
        return time.monotonic() - self._began if last is None else (now - last).total_seconds()

"""What keeps an eye on the tables of tasks, and says what has to be done there."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import Error

from ... import control
from ...db import clock
from ...models.registry import models_by_database
from ...models.task import SimpleTask
from ...recovery import due_check, service
from ...recovery.due_check import DueTimes
from ...states import Status
from ..node.worker_name import is_known_dead
from .pacing import SharedSchedule
from .snapshot import SharedSnapshot, Snapshot

_logger = logging.getLogger(__name__)

#: Seconds between two looks while nothing waits or runs. Less than five: so soon a pause is heard,
#: and after so long Sight takes a database for one that was away.
_IDLE_SECONDS = 4.4
_CLOCK_SECONDS = 60.0  # seconds after which the database is asked for the time again


class LeaseMonitor:
    """One look is one statement per database, whatever there is; only what is due costs more."""

    def __init__(self, shared: SharedSchedule, outlook: SharedSnapshot) -> None:
        self._shared = shared
        self._outlook = outlook
        self._sight = OutageGrace()
        self._told_at: dict[str, float] = {}
        self._is_calm = False

    def check(self) -> int:
        """Recover the tasks whose lease has ended, and call whoever rings; the number recovered."""
        began, home, places = time.monotonic(), _command_database(), models_by_database()
        if home is not None:
            places = {home: [], **places}
        seen = {using: self._query_databases(using, roots, home) for using, roots in places.items()}
        found = [glance for glance in seen.values() if glance is not None]
        # What could not be seen is treated as due: then each table fails, or not, by itself.
        is_blind = any(glance is None and places[using] for using, glance in seen.items())
        is_deaf = home is None or seen[home] is None
        self._is_calm = not is_blind and all(glance.is_idle for glance in found)
        self._outlook.publish(
            Snapshot(
                began,
                has_running=is_blind
                or any(glance.running_check_at is not None for glance in found),
                has_waiting=is_blind
                or any(glance.pending_check_at is not None for glance in found),
                has_commands=is_deaf or any(glance.command_time is not None for glance in found),
            )
        )
        if is_blind or any(glance.is_due(Status.PENDING) for glance in found):
            self._shared.trigger("silent")
        if is_blind or any(glance.is_due(Status.RUNNING) for glance in found):
            return service.recover_expired_leases(may_judge=self._sight.may_judge)
        for glance in found:
            self._sight.may_judge(glance.using)
        return 0

    def recover_local(self) -> int:
        """Recover what processes of this machine held that are gone; the number."""
        return (
            service.recover_dead_local_workers(is_known_dead)
            if self._outlook.latest().has_running
            else 0
        )

    def idle_for(self) -> float:
        """The seconds until the next look, if there is nothing to be looked after."""
        return _IDLE_SECONDS if self._is_calm else 0.0

    def _query_databases(
        self, using: str, roots: list[type[SimpleTask]], home: str | None
    ) -> DueTimes | None:
        try:
            glance = _due_times(using, roots, with_instructions=using == home)
            if time.monotonic() - self._told_at.get(using, float("-inf")) >= _CLOCK_SECONDS:
                clock.calibrate(using)
                self._told_at[using] = time.monotonic()
            return glance
        except Error as error:
            _logger.warning("due_check_failed database=%s error=%s", using, error)
            return None


def _command_database() -> str | None:
    """Where instructions are; None if the router fails to say: each process sees for itself."""
    try:
        return control.command_database()
    except Exception as error:
        _logger.warning("commands_unreadable error=%s", error)
        return None


def _due_times(using: str, roots: list[type[SimpleTask]], *, with_instructions: bool) -> DueTimes:
    """A glance; trouble with the table of instructions alone keeps nobody from looking at tasks."""
    try:
        return due_check.read_due_times(using, roots, with_commands=with_instructions)
    except Error:
        if not (with_instructions and roots):
            raise
        glance = due_check.read_due_times(using, roots)
        return replace(glance, command_time=clock.now(using))


#: Seconds without a look after which a database counts as having been out of sight, and those that
#: the workers then have to renew their leases (Leases tries every second while it cannot).
_MAX_GAP = 5.0


_TIME_TO_RENEW = timedelta(seconds=5)


class OutageGrace:
    """What one process has seen of each database, by that database's own clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[str, datetime] = {}
        self._clear_from: dict[str, datetime] = {}

    def may_judge(self, using: str) -> bool:
        """Note a look at ``using``, whose clock was just read; whether its leases may be judged.

        After an outage all leases have ended, and the workers that held them live: whoever could
        not see cannot know (test_an_outage_longer_than_the_lease_costs_no_running_task_its_claim).
        """
        now = clock.now(using)
        is_late = self._outage_gap(using, now) > _MAX_GAP
        self._seen[using] = now
        if is_late:
            # Not anew while one waits: a database that is always slow is judged all the same.
            self._clear_from.setdefault(using, now + _TIME_TO_RENEW)
        if now < self._clear_from.get(using, now):
            return False
        self._clear_from.pop(using, None)
        return True

    def _outage_gap(self, using: str, now: datetime) -> float:
        """Seconds since the last look; since the beginning, if this is the first that succeeds."""
        last = self._seen.get(using)
        return time.monotonic() - self._began if last is None else (now - last).total_seconds()

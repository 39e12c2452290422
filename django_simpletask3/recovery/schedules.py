"""The maintenance jobs that write the schedules of the code, and fire those that are due."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from functools import partial

from django.db import Error

from ..db import clock
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.registry import task_databases
from ..schedules.due import DueSchedules
from ..schedules.history import delete_old_ticks
from ..schedules.sync import definitions_by_database, write_definitions

_logger = get_logger(__name__)

#: Seconds that are added to the time of the next tick, at random: nodes do not all try at once.
_MAX_JITTER = 0.3
#: Seconds after which a process reads its schedules again: one may have been deleted.
_RELOAD_SECONDS = 300.0
#: Seconds after which a database is tried again that failed.
_RETRY_SECONDS = 1.0
_WRITE_RETRY_SECONDS = 5.0


class DefinitionsJob:
    """The job that writes the schedules of the code into their rows, once per node."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._retry_at = math.inf

    def run(self) -> int:
        """Write what has changed; how many. No query without schedules in the code."""
        self._retry_at = time.monotonic() + _WRITE_RETRY_SECONDS
        by_database = definitions_by_database()
        counts = in_each_database(
            lambda using: write_definitions(using, by_database[using]), sorted(by_database)
        )
        if by_database.keys() == counts.keys():
            self._retry_at = math.inf
        if count := sum(counts.values()):
            self._on_change()
        return count

    def needed_in(self) -> float:
        """Seconds until the next try, if a database failed; else infinity."""
        return self._retry_at - time.monotonic()


class SchedulesJob:
    """The job that fires due ticks. Every process of a node runs it, at its own times."""

    def __init__(self, seconds: float, fingerprint: Callable[[], int]) -> None:
        """``fingerprint`` differs if a schedule was changed since; 0 if that is not known.

        No tick is begun after ``seconds`` of a run.
        """
        self._seconds = seconds
        self._fingerprint = fingerprint
        self._known_fingerprint = 0
        self._databases: dict[str, DueSchedules] = {}
        self._retry_at: dict[str, float] = {}
        self._reload_at = 0.0
        self._jitter = 0.0

    def run(self) -> int:
        """Fire what is due; how many ticks this process has fired."""
        if self._must_reload():
            self._reload()
        due = [using for using in self._databases if self._seconds_until(using) <= 0]
        fired: dict[str, int | None] = {}
        try:
            fired = in_each_database(self._fire, due)
        finally:
            # One that hangs has no answer.
            for using in due:
                if fired.get(using) is None:
                    self._retry_at[using] = time.monotonic() + _RETRY_SECONDS
            self._jitter = random.uniform(0.0, _MAX_JITTER)  # noqa: S311 - spreads load
        return sum(count or 0 for count in fired.values())

    def needed_in(self) -> float:
        """Seconds until the next tick is due, or until schedules have to be read again."""
        now = time.monotonic()
        if self._must_reload():
            return 0.0
        waits = [self._seconds_until(using) + self._jitter for using in self._databases]
        return max(0.0, min([self._reload_at - now, *waits], default=math.inf))

    def _must_reload(self) -> bool:
        fingerprint = self._fingerprint()
        is_changed = fingerprint not in (0, self._known_fingerprint)
        return is_changed or time.monotonic() >= self._reload_at

    def _reload(self) -> None:
        self._known_fingerprint = self._fingerprint() or self._known_fingerprint
        databases = task_databases()
        self._databases.update(
            {using: DueSchedules(using) for using in databases if using not in self._databases}
        )
        self._retry_at.clear()
        counts: dict[str, int | None] = {}
        try:
            counts = in_each_database(self._load, databases)
        finally:
            # One that hangs has no answer.
            is_complete = all(counts.get(using) is not None for using in databases)
            seconds = _RELOAD_SECONDS if any(counts.values()) else math.inf
            self._reload_at = time.monotonic() + (seconds if is_complete else _RETRY_SECONDS)

    def _load(self, using: str) -> int | None:
        try:
            clock.refresh(using)
            return self._databases[using].load()
        except Error as error:
            _logger.warning("schedules_not_read database=%s error=%s", using, error)
            return None

    def _seconds_until(self, using: str) -> float:
        seconds = self._databases[using].seconds_until_next()
        return max(seconds, self._retry_at.get(using, 0.0) - time.monotonic())

    def _fire(self, using: str) -> int | None:
        try:
            clock.refresh(using)
            return self._databases[using].fire_due(self._seconds)
        except Error as error:
            _logger.warning("schedules_not_fired database=%s error=%s", using, error)
            return None


def delete_all_old_ticks(may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete old ticks in all databases; how many. Goes on until ``may_go_on`` is false."""
    work = partial(delete_old_ticks, may_go_on=may_go_on)
    return sum(in_each_database(work, task_databases()).values())


def fire_all(seconds: float = math.inf) -> int:
    """Read the schedules and fire what is due, in all databases; how many ticks."""
    return SchedulesJob(seconds, lambda: 0).run()


def write_all() -> int:
    """Write the schedules of the code into all databases; how many have changed."""
    return DefinitionsJob().run()

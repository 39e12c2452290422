"""What a node does beside running tasks: recovery, at several paces."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db import Error, connections

from ... import subscriptions
from ...conf.options import options
from ...context import acting_as
from ...exceptions import SimpleTaskError
from ...recovery import service
from ...retention import prune
from ..node.worker_name import is_known_dead
from .claim_monitor import ClaimMonitor
from .lease_monitor import LeaseMonitor
from .pacing import SharedSchedule
from .snapshot import SharedSnapshot

_logger = logging.getLogger(__name__)

_EVERY_SECOND = 1.0
_EVERY_FIVE_SECONDS = 5.0
_EVERY_TEN_MINUTES = 600.0
#: Seconds between two looks at the timetable, where a chore may have been called by any process.
_MIN_INTERVAL = 0.25
_MAX_JITTER = (
    0.05  # by up to which the processes of a node wake apart: else all would do what is due
)

_JOB_NAMES = (
    "expired",
    "deceased",
    "subscribers",
    "forgotten",
    "silent",
    "messages",
    "strangers",
    "retention",
)


@dataclass(frozen=True, slots=True)
class MaintenanceJob:
    """A run-once service and its pace in seconds.

    One that ``hurries`` is never slower than the interval of recovery. ``calm`` says after a pass
    for how many seconds nobody needs the next, if it is for more than one pace.
    """

    work: Callable[[], int]
    pace: float
    hurries: bool = True
    idle_for: Callable[[], float] = lambda: 0.0

    @property
    def seconds(self) -> float:
        """How often it is due, by the settings of now."""
        if not self.hurries:
            return self.pace
        return min(self.pace, options.simq_timeout_task_recovery_interval)


def database_jobs(shared: SharedSchedule, outlook: SharedSnapshot) -> dict[str, MaintenanceJob]:
    """What asks the databases only: a Redis that hangs does not delay it."""
    watch = LeaseMonitor(shared, outlook)
    return {
        "expired": MaintenanceJob(watch.check, _EVERY_SECOND, idle_for=watch.idle_for),
        "deceased": MaintenanceJob(watch.recover_local, _EVERY_FIVE_SECONDS),
        "subscribers": MaintenanceJob(
            lambda: subscriptions.release_dead_local_workers(is_known_dead), _EVERY_FIVE_SECONDS
        ),
    }


def redis_jobs(outlook: SharedSnapshot) -> dict[str, MaintenanceJob]:
    """What asks Redis."""
    claims = ClaimMonitor()

    def push_if_overdue() -> int:
        return service.push_overdue() if outlook.latest().has_waiting else 0

    return {
        "forgotten": MaintenanceJob(service.detect_redis_reset, _EVERY_FIVE_SECONDS),
        # Called when there is something to do for it, too.
        "silent": MaintenanceJob(push_if_overdue, _EVERY_TEN_MINUTES),
        "messages": MaintenanceJob(claims.check, _EVERY_FIVE_SECONDS, idle_for=claims.idle_for),
        "strangers": MaintenanceJob(service.adopt_foreign_claims, float("inf")),
    }


def slow_jobs(may_go_on: Callable[[], bool] = lambda: True) -> dict[str, MaintenanceJob]:
    """What takes its time and is asked before each step whether it may."""
    return {
        "retention": MaintenanceJob(
            lambda: prune.prune_due(may_go_on), _EVERY_TEN_MINUTES, hurries=False
        )
    }


def shared_schedule() -> SharedSchedule:
    """A timetable for all chores of a node, to be made before its processes are."""
    return SharedSchedule(_JOB_NAMES)


class MaintenanceLoop:
    """Some of a node's chores, done by whichever of its processes finds them due."""

    def __init__(
        self, chores: Mapping[str, MaintenanceJob], shared: SharedSchedule, actor: str = "recovery"
    ) -> None:
        self._chores = chores
        self._shared = shared
        self._actor = actor

    def step(self) -> float:
        """Do what is due; the seconds until something may be."""
        for name, chore in self._chores.items():
            if self._shared.seconds_until(name, chore.seconds) <= 0:
                self._run(name, chore)
        rests = [
            self._shared.seconds_until(name, chore.seconds) for name, chore in self._chores.items()
        ]
        rest = min(*rests, _MIN_INTERVAL)
        return rest + random.uniform(0.0, _MAX_JITTER) if rest > 0 else 0.0  # noqa: S311 - no secret

    def _run(self, name: str, chore: MaintenanceJob) -> None:
        self._shared.begin(name)
        try:
            with acting_as(self._actor):
                moved = chore.work()
        except Exception as error:
            # The others go on; this one is tried again a little later each time.
            self._shared.fail(name)
            unforeseen = not isinstance(error, SimpleTaskError | Error)
            _logger.warning("job_failed job=%s error=%s", name, error, exc_info=unforeseen)
            connections.close_all()
        else:
            calm = min(chore.idle_for(), options.simq_timeout_task_recovery_interval)
            self._shared.end(name, moved, calm)

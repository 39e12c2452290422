"""The maintenance jobs of a node: recovery, retention, stale deliveries."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from django.db import Error, connections

from ... import subscriptions
from ...conf.options import options
from ...context import acting_as
from ...exceptions import QueueUnavailable, SimpleTaskError
from ...logs import get_logger
from ...recovery import service
from ...recovery.dependents import DependentsJob, count_missed_ends, delete_unused_groups
from ...recovery.expired_tasks import expire_tasks
from ...recovery.schedules import DefinitionsJob, SchedulesJob, delete_all_old_ticks
from ...recovery.table_operations import MAX_TASKS
from ...retention import prune
from ..watch.worker_name import is_known_dead
from .claim_monitor import ClaimMonitor
from .due_hints import DueHints
from .lease_monitor import CHECK, EXPIRE_TASKS, PUSH_OVERDUE, LeaseMonitor
from .pacing import SharedSchedule
from .snapshot import SharedSnapshot

_logger = get_logger(__name__)

_EVERY_SECOND = 1.0
_EVERY_FIVE_SECONDS = 5.0
_EARLY_SECONDS = 0.7  # with them, the check of an idle node comes in time for the jobs after it
_EVERY_TEN_MINUTES = 600.0
_EVERY_HOUR = 3600.0
#: Leases are checked by the same thread: a backlog of expired tasks must not delay that.
_MAX_EXPIRY_SECONDS = 0.5
_MAX_SERVING_SECONDS = 0.5
_MAX_FIRING_SECONDS = 0.5
#: Longest pause between two looks at the schedule for slow jobs, which are not triggered.
SLOW_MAX_PAUSE = 10.0
#: Random extra pause. Without it all processes of a node wake together and run the same job.
_MAX_JITTER = 0.05

_JOB_NAMES = (
    CHECK,
    "write_schedules",
    "fire_schedules",
    EXPIRE_TASKS,
    "recover_dead_local_workers",
    "release_deliveries",
    "serve_dependents",
    "detect_redis_reset",
    PUSH_OVERDUE,
    "requeue_expired_claims",
    "adopt_foreign_claims",
    "prune",
    "count_missed_ends",
    "delete_unused_groups",
    "delete_old_ticks",
)


@dataclass(frozen=True, slots=True)
class MaintenanceJob:
    """A function that runs once and returns a count, and its interval in seconds.

    ``follows_setting``: the interval is never longer than
    ``SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL``. ``idle_for`` returns, after a run, the seconds for
    which no other run is needed; ``needed_in`` those after which one is needed at the latest.
    After another job, it runs up to ``early`` seconds before it is due: they share a session.
    """

    work: Callable[[], int]
    interval: float
    follows_setting: bool = True
    idle_for: Callable[[], float] = lambda: 0.0
    needed_in: Callable[[], float] = lambda: math.inf
    early: float = 0.0

    @property
    def seconds(self) -> float:
        """The interval under the current settings."""
        if not self.follows_setting:
            return self.interval
        return min(self.interval, options.simq_timeout_task_recovery_interval)


def database_jobs(
    shared: SharedSchedule, snapshot: SharedSnapshot, hints: DueHints
) -> dict[str, MaintenanceJob]:
    """The jobs that query databases only; a Redis that hangs does not delay them."""
    monitor = LeaseMonitor(shared, snapshot, hints)
    dependents = DependentsJob(_MAX_SERVING_SECONDS)
    definitions = DefinitionsJob(partial(shared.trigger, CHECK))
    schedules = SchedulesJob(_MAX_FIRING_SECONDS, lambda: snapshot.latest().schedules)
    return {
        CHECK: MaintenanceJob(
            monitor.check,
            _EVERY_SECOND,
            idle_for=monitor.idle_for,
            needed_in=hints.seconds_until_next,
        ),
        "write_schedules": MaintenanceJob(
            definitions.run, math.inf, follows_setting=False, needed_in=definitions.needed_in
        ),
        # Each process at its own times: the first one of all nodes wins.
        "fire_schedules": MaintenanceJob(
            schedules.run, math.inf, follows_setting=False, needed_in=schedules.needed_in
        ),
        # LeaseMonitor triggers it earlier when a task may have expired.
        EXPIRE_TASKS: MaintenanceJob(
            partial(expire_tasks, seconds=_MAX_EXPIRY_SECONDS), _EVERY_TEN_MINUTES
        ),
        "recover_dead_local_workers": MaintenanceJob(
            monitor.recover_local, _EVERY_FIVE_SECONDS, early=_EARLY_SECONDS
        ),
        "release_deliveries": MaintenanceJob(
            lambda: subscriptions.release_dead_local_workers(is_known_dead),
            _EVERY_FIVE_SECONDS,
            early=_EARLY_SECONDS,
        ),
        "serve_dependents": MaintenanceJob(
            dependents.run,
            _EVERY_FIVE_SECONDS,
            needed_in=dependents.needed_in,
            early=_EARLY_SECONDS,
        ),
    }


def redis_jobs(shared: SharedSchedule, snapshot: SharedSnapshot) -> dict[str, MaintenanceJob]:
    """The jobs that call Redis."""
    claims = ClaimMonitor()

    def push_overdue_if_any_waits() -> int:
        count = service.push_overdue() if snapshot.latest().has_waiting else 0
        if 0 < count < MAX_TASKS:
            # While these were due, the check did not see when the next ones are. Of more, the
            # rest has its turn in a second.
            shared.trigger(CHECK)
        return count

    return {
        "detect_redis_reset": MaintenanceJob(
            partial(service.detect_redis_reset, rechecked={}), _EVERY_FIVE_SECONDS
        ),
        # LeaseMonitor triggers it earlier when it finds a due task.
        PUSH_OVERDUE: MaintenanceJob(push_overdue_if_any_waits, _EVERY_TEN_MINUTES),
        "requeue_expired_claims": MaintenanceJob(
            claims.check, _EVERY_FIVE_SECONDS, idle_for=claims.idle_for
        ),
        "adopt_foreign_claims": MaintenanceJob(service.adopt_foreign_claims, float("inf")),
    }


def slow_jobs(may_go_on: Callable[[], bool] = lambda: True) -> dict[str, MaintenanceJob]:
    """The jobs that take long; they call ``may_go_on`` before each step and stop on False."""
    return {
        "prune": MaintenanceJob(
            lambda: prune.prune_due(may_go_on), _EVERY_TEN_MINUTES, follows_setting=False
        ),
        "count_missed_ends": MaintenanceJob(
            partial(count_missed_ends, may_go_on), _EVERY_TEN_MINUTES, follows_setting=False
        ),
        "delete_unused_groups": MaintenanceJob(
            partial(delete_unused_groups, may_go_on), _EVERY_HOUR, follows_setting=False
        ),
        "delete_old_ticks": MaintenanceJob(
            partial(delete_all_old_ticks, may_go_on), _EVERY_HOUR, follows_setting=False
        ),
    }


def shared_schedule(processes: int = 1) -> SharedSchedule:
    """A schedule of all jobs of a node. Call it before the node forks its processes."""
    return SharedSchedule(_JOB_NAMES, processes)


class MaintenanceLoop:
    """Runs some jobs of a node when they are due and no other process has run them."""

    def __init__(
        self,
        jobs: Mapping[str, MaintenanceJob],
        shared: SharedSchedule,
        actor: str = "recovery",
        max_pause: float | None = None,
    ) -> None:
        self._jobs = jobs
        self._shared = shared
        self._actor = actor
        self._max_pause = shared.max_pause if max_pause is None else max_pause

    def step(self) -> float:
        """Run the jobs that are due; the seconds until one may be due again."""
        has_run = False
        for name, job in self._jobs.items():
            if self._seconds_until(name, job) <= (job.early if has_run else 0.0):
                self._run(name, job)
                has_run = True
        pauses = [self._shared.seconds_until(name, job.seconds) for name, job in self._jobs.items()]
        pause = min(*pauses, self._max_pause)
        if pause > 0:
            pause += random.uniform(0.0, _MAX_JITTER)  # noqa: S311 - no secret
        # What is needed at a time is needed by this process alone, and then.
        return max(0.0, min(pause, *(job.needed_in() for job in self._jobs.values())))

    def _seconds_until(self, name: str, job: MaintenanceJob) -> float:
        return min(self._shared.seconds_until(name, job.seconds), job.needed_in())

    def _run(self, name: str, job: MaintenanceJob) -> None:
        self._shared.begin(name)
        try:
            with acting_as(self._actor):
                count = job.work()
        except Exception as error:
            # The other jobs go on; this one is retried after a pause that grows.
            self._shared.fail(name)
            is_unexpected = not isinstance(error, SimpleTaskError | Error)
            # Redis that is away is logged by the queue, once for all.
            level = logging.DEBUG if isinstance(error, QueueUnavailable) else logging.WARNING
            _logger.log(level, "job_failed job=%s error=%s", name, error, exc_info=is_unexpected)
            connections.close_all()
        else:
            idle_seconds = min(job.idle_for(), options.simq_timeout_task_recovery_interval)
            self._shared.end(name, count, idle_seconds)

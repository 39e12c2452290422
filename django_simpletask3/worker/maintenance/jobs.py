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
from .claim_monitor import Claims
from .lease_monitor import Watch
from .pacing import Timetable
from .snapshot import Outlook

_logger = logging.getLogger(__name__)

_OFTEN = 1.0
_SOMETIMES = 5.0
_SELDOM = 600.0
#: Seconds between two looks at the timetable, where a chore may have been called by any process.
_ALERT = 0.25
_APART = 0.05  # by up to which the processes of a node wake apart: else all would do what is due

_NAMES = (
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
class Chore:
    """A run-once service and its pace in seconds.

    One that ``hurries`` is never slower than the interval of recovery. ``calm`` says after a pass
    for how many seconds nobody needs the next, if it is for more than one pace.
    """

    work: Callable[[], int]
    pace: float
    hurries: bool = True
    calm: Callable[[], float] = lambda: 0.0

    @property
    def seconds(self) -> float:
        """How often it is due, by the settings of now."""
        if not self.hurries:
            return self.pace
        return min(self.pace, options.simq_timeout_task_recovery_interval)


def database_chores(shared: Timetable, outlook: Outlook) -> dict[str, Chore]:
    """What asks the databases only: a Redis that hangs does not delay it."""
    watch = Watch(shared, outlook)
    return {
        "expired": Chore(watch.look, _OFTEN, calm=watch.calm),
        "deceased": Chore(watch.bury, _SOMETIMES),
        "subscribers": Chore(
            lambda: subscriptions.release_dead_local_workers(is_known_dead), _SOMETIMES
        ),
    }


def redis_chores(outlook: Outlook) -> dict[str, Chore]:
    """What asks Redis."""
    claims = Claims()

    def ring() -> int:
        return service.push_overdue() if outlook.fresh().waits else 0

    return {
        "forgotten": Chore(service.detect_redis_reset, _SOMETIMES),
        # Called when there is something to do for it, too.
        "silent": Chore(ring, _SELDOM),
        "messages": Chore(claims.look, _SOMETIMES, calm=claims.calm),
        "strangers": Chore(service.adopt_foreign_claims, float("inf")),
    }


def slow_chores(may_go_on: Callable[[], bool] = lambda: True) -> dict[str, Chore]:
    """What takes its time and is asked before each step whether it may."""
    return {"retention": Chore(lambda: prune.prune_due(may_go_on), _SELDOM, hurries=False)}


def timetable() -> Timetable:
    """A timetable for all chores of a node, to be made before its processes are."""
    return Timetable(_NAMES)


class Chores:
    """Some of a node's chores, done by whichever of its processes finds them due."""

    def __init__(
        self, chores: Mapping[str, Chore], shared: Timetable, actor: str = "recovery"
    ) -> None:
        self._chores = chores
        self._shared = shared
        self._actor = actor

    def step(self) -> float:
        """Do what is due; the seconds until something may be."""
        for name, chore in self._chores.items():
            if self._shared.rest(name, chore.seconds) <= 0:
                self._do(name, chore)
        rests = [self._shared.rest(name, chore.seconds) for name, chore in self._chores.items()]
        rest = min(*rests, _ALERT)
        return rest + random.uniform(0.0, _APART) if rest > 0 else 0.0  # noqa: S311 - no secret

    def _do(self, name: str, chore: Chore) -> None:
        self._shared.begin(name)
        try:
            with acting_as(self._actor):
                moved = chore.work()
        except Exception as error:
            # The others go on; this one is tried again a little later each time.
            self._shared.fail(name)
            unforeseen = not isinstance(error, SimpleTaskError | Error)
            _logger.warning("chore_failed chore=%s error=%s", name, error, exc_info=unforeseen)
            connections.close_all()
        else:
            calm = min(chore.calm(), options.simq_timeout_task_recovery_interval)
            self._shared.end(name, moved, calm)

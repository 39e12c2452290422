"""What keeps an eye on the tables of tasks, and says what has to be done there."""

from __future__ import annotations

import logging
import time

from django.db import Error

from .. import clock, glances, recovery
from ..catalog import tables
from ..glances import Glance
from ..models import SimpleTask
from ..states import Status
from .identity import is_known_dead
from .sight import Sight
from .timetable import Timetable

_logger = logging.getLogger(__name__)

_CALM = 4.0  # seconds between two looks while nothing waits or runs
_CLOCK = 60.0  # seconds after which the database is asked for the time again


class Watch:
    """One look is one statement per database, whatever there is; only what is due costs more."""

    def __init__(self, shared: Timetable) -> None:
        self._shared = shared
        self._sight = Sight()
        self._told_at: dict[str, float] = {}
        self._is_calm = False
        self._looked_at = float("-inf")
        self._runs = True

    def look(self) -> int:
        """Recover the tasks whose lease has ended, and call whoever rings; the number recovered."""
        seen = {using: self._glance(using, roots) for using, roots in tables().items()}
        found = [glance for glance in seen.values() if glance is not None]
        # What could not be seen is treated as due: then each table fails, or not, by itself.
        is_blind = len(found) < len(seen)
        self._is_calm = not is_blind and all(glance.is_calm for glance in found)
        self._looked_at = time.monotonic()
        self._runs = is_blind or any(glance.running is not None for glance in found)
        if is_blind or any(glance.is_due(Status.PENDING) for glance in found):
            self._shared.call("silent")
        if is_blind or any(glance.is_due(Status.RUNNING) for glance in found):
            return recovery.expired(may_judge=self._sight.is_clear)
        for glance in found:
            self._sight.is_clear(glance.using)
        return 0

    def bury(self) -> int:
        """Recover what processes of this machine held that are gone; the number."""
        # Another process of the node may have looked since.
        is_known = time.monotonic() - self._looked_at <= _CALM
        return recovery.deceased(is_known_dead) if self._runs or not is_known else 0

    def calm(self) -> float:
        """The seconds until the next look, if there is nothing to be looked after."""
        return _CALM if self._is_calm else 0.0

    def _glance(self, using: str, roots: list[type[SimpleTask]]) -> Glance | None:
        try:
            if time.monotonic() - self._told_at.get(using, -_CLOCK) >= _CLOCK:
                clock.calibrate(using)
                self._told_at[using] = time.monotonic()
            return glances.at(using, roots)
        except Error as error:
            _logger.warning("glance_failed database=%s error=%s", using, error)
            return None

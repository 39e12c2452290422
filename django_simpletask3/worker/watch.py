"""What keeps an eye on the tables of tasks, and says what has to be done there."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from django.db import Error

from .. import clock, glances, instructions, recovery
from ..catalog import tables
from ..glances import Glance
from ..models import SimpleTask
from ..states import Status
from .identity import is_known_dead
from .outlook import Outlook, Seen
from .sight import Sight
from .timetable import Timetable

_logger = logging.getLogger(__name__)

#: Seconds between two looks while nothing waits or runs. Less than five: so soon a pause is heard,
#: and after so long Sight takes a database for one that was away.
_CALM = 4.4
_CLOCK = 60.0  # seconds after which the database is asked for the time again


class Watch:
    """One look is one statement per database, whatever there is; only what is due costs more."""

    def __init__(self, shared: Timetable, outlook: Outlook) -> None:
        self._shared = shared
        self._outlook = outlook
        self._sight = Sight()
        self._told_at: dict[str, float] = {}
        self._is_calm = False

    def look(self) -> int:
        """Recover the tasks whose lease has ended, and call whoever rings; the number recovered."""
        began, home, places = time.monotonic(), _home(), tables()
        if home is not None:
            places = {home: [], **places}
        seen = {using: self._glance(using, roots, home) for using, roots in places.items()}
        found = [glance for glance in seen.values() if glance is not None]
        # What could not be seen is treated as due: then each table fails, or not, by itself.
        is_blind = any(glance is None and places[using] for using, glance in seen.items())
        is_deaf = home is None or seen[home] is None
        self._is_calm = not is_blind and all(glance.is_calm for glance in found)
        self._outlook.note(
            Seen(
                began,
                runs=is_blind or any(glance.running is not None for glance in found),
                waits=is_blind or any(glance.pending is not None for glance in found),
                asked=is_deaf or any(glance.asked is not None for glance in found),
            )
        )
        if is_blind or any(glance.is_due(Status.PENDING) for glance in found):
            self._shared.call("silent")
        if is_blind or any(glance.is_due(Status.RUNNING) for glance in found):
            return recovery.expired(may_judge=self._sight.is_clear)
        for glance in found:
            self._sight.is_clear(glance.using)
        return 0

    def bury(self) -> int:
        """Recover what processes of this machine held that are gone; the number."""
        return recovery.deceased(is_known_dead) if self._outlook.fresh().runs else 0

    def calm(self) -> float:
        """The seconds until the next look, if there is nothing to be looked after."""
        return _CALM if self._is_calm else 0.0

    def _glance(self, using: str, roots: list[type[SimpleTask]], home: str | None) -> Glance | None:
        try:
            glance = _at(using, roots, with_instructions=using == home)
            if time.monotonic() - self._told_at.get(using, float("-inf")) >= _CLOCK:
                clock.calibrate(using)
                self._told_at[using] = time.monotonic()
            return glance
        except Error as error:
            _logger.warning("glance_failed database=%s error=%s", using, error)
            return None


def _home() -> str | None:
    """Where instructions are; None if the router fails to say: each process sees for itself."""
    try:
        return instructions.home()
    except Exception as error:
        _logger.warning("instructions_not_found error=%s", error)
        return None


def _at(using: str, roots: list[type[SimpleTask]], *, with_instructions: bool) -> Glance:
    """A glance; trouble with the table of instructions alone keeps nobody from looking at tasks."""
    try:
        return glances.at(using, roots, with_instructions=with_instructions)
    except Error:
        if not (with_instructions and roots):
            raise
        glance = glances.at(using, roots)
        return replace(glance, asked=clock.now(using))

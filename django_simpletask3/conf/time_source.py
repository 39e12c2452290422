"""What tells the time: real clocks, or the clock of a test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

_source: Callable[[], datetime] | None = None


def use(source: Callable[[], datetime] | None) -> None:
    """Have ``source`` tell the time to all threads of this process; real clocks if it is None."""
    global _source
    _source = source


def time_of_test() -> datetime | None:
    """The time by the clock of a test, aware and in UTC; None if real clocks tell the time."""
    source = _source  # read once: another thread may end the block of the clock meanwhile
    return None if source is None else source()


def machine_now() -> datetime:
    """As Django's ``timezone.now()``, but for a clock of a test."""
    source = _source
    return timezone.now() if source is None else stored(source())


def stored(moment: datetime) -> datetime:
    """``moment`` as Django stores it: not in the time zone that a request has activated."""
    return moment if settings.USE_TZ else timezone.make_naive(moment, default_zone())


def default_zone() -> Any:
    """The time zone of the times that are stored if USE_TZ is False."""
    return timezone.get_default_timezone()

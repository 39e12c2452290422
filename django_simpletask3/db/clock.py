"""The database's clock: times that several machines compare come from one clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connections, models
from django.utils import timezone

_EPOCH_SQL = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6))",
}
_TIME_FIELD: Any = models.DateTimeField(name="run_after")
#: An answer that took longer than this (seconds) tells the time badly: it is asked for again.
_MAX_REPLY_SECONDS = 0.5
_MAX_QUERIES = 3
_offsets: dict[str, float] = {}


def calibrate(using: str) -> bool:
    """Query the time of the database ``using`` once; ``now(using)`` is by that clock afterwards.

    Returns whether it was queried: a database on this machine (SQLite), or an unknown one, goes by
    the clock of the process. A reply slower than 0.5 s is discarded and the query repeated.
    """
    connection = connections[using]
    sql = _EPOCH_SQL.get(connection.vendor)
    if sql is None:
        return False
    for _ in range(_MAX_QUERIES):
        before = time.time()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            (epoch,) = cursor.fetchone()
        after = time.time()
        _offsets[using] = float(epoch) - (before + after) / 2
        if after - before < _MAX_REPLY_SECONDS:
            break
    return True


def now(using: str) -> datetime:
    """The time by the clock of ``using`` as last calibrated; aware if Django's USE_TZ says so."""
    moment = datetime.fromtimestamp(time.time() + _offsets.get(using, 0.0), UTC)
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def is_past(moment: datetime | None, using: str) -> bool:
    """Whether ``moment``, in any form that ``run_after`` may have, is not in the future."""
    return is_due(moment, now(using))


def is_due(run_after: datetime | None, now: datetime) -> bool:
    """Whether ``run_after``, in any form, is not after ``now``; False for an expression."""
    if hasattr(run_after, "resolve_expression"):
        return False  # only the database knows
    return run_after is None or bool(_TIME_FIELD.get_prep_value(run_after) <= now)


def after(using: str, seconds: float) -> datetime:
    """The time ``seconds`` from now by the clock of ``using``."""
    return now(using) + timedelta(seconds=seconds)

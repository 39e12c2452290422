"""How full limits are, and who waits for them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from ..db import clock
from ..db.limited_queries import first_rows
from ..ledger.task_row import all_rows
from ..limits.declared import limited_models, limits_by_name
from ..limits.tables import LimitPlace, LimitWaiter
from .health_types import LimitHealth

#: Places, and tasks that wait, that are read of a database.
MAX_ROWS = 1000


def limit_health(using: str) -> list[LimitHealth]:
    """The health of each limit in the database, by name, in one query; none without limits."""
    if not any(limited_models()):
        return []
    rows = first_rows(using, _queries(using), MAX_ROWS)
    taken = Counter(name for name, _ in rows["places"])
    waiting: Counter[str] = Counter()
    oldest: dict[str, datetime] = {}
    for name, block_time in rows["waiters"]:
        waiting[name] += 1
        oldest[name] = min(block_time, oldest.get(name, block_time))
    now = clock.now(using)
    return [
        LimitHealth(
            limit=name,
            database=using,
            taken=taken[name],
            waiting=waiting[name],
            longest_wait=_age(oldest.get(name), now),
        )
        for name in sorted({*limits_by_name(), *taken, *waiting})
    ]


def _queries(using: str) -> dict[str, Any]:
    places = all_rows(LimitPlace, using).filter(number__isnull=False).order_by("pk")
    waiters = all_rows(LimitWaiter, using).order_by("pk")
    return {
        "places": places.values_list("gate__name", "held_until"),
        "waiters": waiters.values_list("gate__name", "block_time"),
    }


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else round((now - moment).total_seconds(), 3)

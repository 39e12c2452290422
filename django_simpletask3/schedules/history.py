"""What is kept of the ticks of the past."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Count, Q

from ..batches import batches
from ..db import clock
from .tables import HAS_TASK, Outcome, has_schedules_table, ticks_of

#: How many ticks are kept of each schedule.
KEPT_TICKS = 100
_BATCH = 500


def delete_old_ticks(using: str, may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete all but the newest 100 ticks of each schedule in this database; how many.

    The newest one that has a task is kept, too: while its task has not ended, ticks may be skipped.
    What operators had run is counted apart. Ticks of the future, which a clock that was ahead has
    fired, are left: they must not count instead of the newest ones.
    """
    if not has_schedules_table(using):
        return 0
    run_now, deleted = Q(outcome=Outcome.RUN_NOW), 0
    for kind in (~run_now, run_now):
        past = ticks_of(using).filter(kind, tick__lte=clock.utc_now(using)).order_by()
        counts = past.values("schedule").annotate(number=Count("pk"))
        for key in list(counts.filter(number__gt=KEPT_TICKS).values_list("schedule", flat=True)):
            ticks = past.filter(schedule=key).order_by("-tick")
            last = ticks.filter(outcome__in=HAS_TASK).values_list("pk", flat=True).first()
            old = list(ticks.exclude(pk=last).values_list("pk", flat=True)[KEPT_TICKS:])
            for pks in batches(old, _BATCH):
                if not may_go_on():
                    return deleted
                count, _ = ticks_of(using).filter(pk__in=pks).delete()
                deleted += count
    return deleted

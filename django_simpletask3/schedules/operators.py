"""What operators do with schedules: enable, disable, write own ones, delete."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from django.db import transaction

from ..db import clock
from ..db.conflicts import repeat_on_conflict
from ..ledger.fields import MAX_TEXT
from .declared import known_schedules
from .tables import Schedule, new_change_mark, schedules_of, ticks_of

#: Columns that say when ticks are.
_TIME_COLUMNS = ("cron", "zone", "interval")


def enable(pks: Collection[int], using: str, reason: str = "") -> int:
    """Let these schedules be fired, from their next ticks on; how many were disabled before."""
    clock.refresh(using)  # a web process may never have read it
    now = clock.utc_now(using)
    disabled = schedules_of(using).filter(pk__in=pks, enabled=False)
    columns = {"active_since": now, "change_mark": new_change_mark(), "reason": reason[:MAX_TEXT]}
    return disabled.update(enabled=True, **columns)


def disable(pks: Collection[int], using: str, reason: str = "") -> int:
    """Let no tick of these schedules be fired; how many were enabled before."""
    enabled = schedules_of(using).filter(pk__in=pks, enabled=True)
    columns = {"change_mark": new_change_mark(), "reason": reason[:MAX_TEXT]}
    return enabled.update(enabled=False, **columns)


def save_own(row: Schedule, using: str) -> None:
    """Save an own schedule. If its times have changed, ticks of the past are not made up for.

    Whether it is enabled is left as it is: another operator may have changed that meanwhile.
    """
    clock.refresh(using)
    before = schedules_of(using).filter(pk=row.pk).values(*_TIME_COLUMNS).first()
    is_retimed = before != {name: getattr(row, name) for name in _TIME_COLUMNS}
    if is_retimed:
        row.active_since = clock.utc_now(using)
    row.is_own, row.change_mark = True, new_change_mark()
    if before is None:
        row.save(using=using)
        return
    kept = {"id", "enabled", "reason"} | (set() if is_retimed else {"active_since"})
    names = {column.name for column in Schedule._meta.concrete_fields} - kept
    row.save(using=using, update_fields=names)


def may_delete(row: Schedule) -> bool:
    """Whether a node would not write the schedule again when it starts."""
    return row.is_own or row.key not in known_schedules()


def delete(rows: Collection[Schedule], using: str) -> int:
    """Delete schedules that no code declares, and their ticks; how many."""
    keys = [row.key for row in rows if may_delete(row)]
    return repeat_on_conflict(using, partial(_delete, keys, using))


def _delete(keys: list[str], using: str) -> int:
    with transaction.atomic(using=using):
        count, _ = schedules_of(using).filter(key__in=keys).delete()
        ticks_of(using).filter(schedule__in=keys)._raw_delete(using)
    return count

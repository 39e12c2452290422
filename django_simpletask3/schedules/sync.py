"""Write the definitions of the code into the rows that nodes go by."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

from django.db import router, transaction

from ..db import clock
from ..db.conflicts import repeat_on_conflict
from ..db.locks import begin_write
from ..logs import get_logger
from .declared import Declared, known_schedules, left_out
from .tables import Schedule, has_schedules_table, new_change_mark, schedules_of

_logger = get_logger(__name__)

#: The schedules that were logged as left out, with the reason.
_logged: set[tuple[str, str]] = set()

#: Columns that say when ticks are: if they change, ticks of the past are not made up for.
_TIME_COLUMNS = ("cron", "zone", "interval")


def definitions_by_database() -> dict[str, list[Declared]]:
    """The schedules that the code declares, by the database of their tasks.

    One that cannot be stored is left out, and logged once.
    """
    for key, error in set(left_out()) - _logged:
        _logged.add((key, error))
        _logger.warning("schedule_left_out schedule=%s error=%s", key, error)
    by_database: dict[str, list[Declared]] = defaultdict(list)
    for declared in known_schedules().values():
        if declared.target is not None:
            by_database[router.db_for_write(declared.target.model)].append(declared)
    return by_database


def write_definitions(using: str, definitions: list[Declared]) -> int:
    """Insert schedules that are new, and update those that have changed; how many.

    A row of a higher version is left as it is: newer code has written it. So are own schedules, and
    what operators decide. Without the table nothing is written, which is logged.
    """
    if not has_schedules_table(using):
        _logger.warning("schedules_table_missing database=%s", using)
        return 0
    return repeat_on_conflict(using, partial(_write, using, definitions))


def _write(using: str, definitions: list[Declared]) -> int:
    rows: dict[str, Schedule] = {row.key: row for row in schedules_of(using)}
    outdated = [one for one in definitions if _is_outdated(rows.get(one.key), one)]
    if outdated:
        with transaction.atomic(using=using):
            begin_write(Schedule, using)
            for one in outdated:
                row = rows.get(one.key)
                _insert(one, using) if row is None else _update(row, one, using)
    return len(outdated)


def _is_outdated(row: Schedule | None, one: Declared) -> bool:
    if row is None:
        return True
    if row.is_own:
        _logger.warning("schedule_is_own schedule=%s", one.key)
        return False
    version = one.definition.version
    return version > row.version or (version == row.version and row.digest != one.digest)


def _insert(one: Declared, using: str) -> None:
    columns: dict[str, Any] = {
        "key": one.key,
        "version": one.definition.version,
        "digest": one.digest,
        "active_since": clock.utc_now(using),
        "change_mark": new_change_mark(),
    }
    row = Schedule(**columns, **one.values)
    # Another node may insert it at the same time.
    schedules_of(using).bulk_create([row], ignore_conflicts=True)


def _update(row: Schedule, one: Declared, using: str) -> None:
    values = {**one.values, "change_mark": new_change_mark()}
    if any(getattr(row, name) != values[name] for name in _TIME_COLUMNS):
        values["active_since"] = clock.utc_now(using)
    # Unless newer code has written it meanwhile.
    as_read = schedules_of(using).filter(pk=row.pk, version=row.version, digest=row.digest)
    as_read.update(version=one.definition.version, digest=one.digest, **values)

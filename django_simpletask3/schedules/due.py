"""Which ticks of a database are due, and firing them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import Error, connections, router

from ..batches import batches
from ..db import clock
from ..logs import get_logger
from .declared import known_schedules
from .definition import CatchUp
from .firing import DueTick, fire, leaves_tick
from .tables import Outcome, Schedule, has_schedules_table, newest_ticks, schedules_of
from .targets import ScheduleTarget, build_task, find_target
from .ticks import Ticks, find_zone, last_ticks

_logger = get_logger(__name__)

#: Ticks that are made up for, at most, of a schedule that makes up for all.
MAX_TICKS = 100
#: How late a tick may be fired of a schedule that makes up for none: the time of a restart.
GRACE_SECONDS = 60.0
#: Seconds after which a schedule is tried again that a database error hit: first, and at most.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_BATCH = 500


class NotDeclared(Exception):
    """The code of this process does not say what the fields of the schedule are."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An enabled schedule, as it was read, and its next tick."""

    pk: int
    ticks: Ticks
    next_tick: datetime


@dataclass(frozen=True, slots=True)
class _Retry:
    """When a schedule is tried again, by the monotonic clock, and the pause before."""

    at: float
    pause: float


class DueSchedules:
    """The schedules of one database, kept in memory between two ticks.

    Every process of every node has one, and fires what is due: the database lets one of them win.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        # Replaced, never changed: a thread that was given up because it hung may still work.
        self._waiting: dict[str, _Waiting] = {}
        self._retries: dict[str, _Retry] = {}
        self._unreadable: set[str] = set()

    def seconds_until_next(self) -> float:
        """Seconds until a schedule is due, or tried again; 0 or less if one is, else infinity."""
        now, monotonic, retries = clock.utc_now(self._using), time.monotonic(), self._retries
        waiting = self._waiting.items()
        ticks = [one.next_tick for key, one in waiting if key not in retries]
        seconds = [(min(ticks) - now).total_seconds()] if ticks else []
        for key, one in waiting:
            if key in retries:
                tick = (one.next_tick - now).total_seconds()
                seconds.append(max(tick, retries[key].at - monotonic))
        return min(seconds, default=math.inf)

    def load(self) -> int:
        """Read the schedules, and when each is due; how many there are. Two queries at most."""
        using = self._using
        rows = list(schedules_of(using)) if has_schedules_table(using) else []
        newest = newest_ticks(using) if rows else {}
        waiting: dict[str, _Waiting] = {}
        for row in rows:
            self._wait(waiting, row, newest.get(row.key))
        self._waiting, self._retries = waiting, {}
        return len(rows)

    def fire_due(self, seconds: float) -> int:
        """Fire the ticks that are due; how many this process has fired.

        None is begun after ``seconds``. Rows are read again: one that was disabled, retimed or
        deleted meanwhile is not fired. A schedule that fails holds up no other: it is tried again
        after a pause that grows if it was a database error, and else when schedules are read again.
        Raises Error if the database is away.
        """
        waiting, retries = dict(self._waiting), dict(self._retries)
        try:
            return self._fire_all(waiting, retries, time.monotonic() + seconds)
        finally:
            self._waiting, self._retries = waiting, retries

    def _fire_all(
        self, waiting: dict[str, _Waiting], retries: dict[str, _Retry], latest: float
    ) -> int:
        count, keys = 0, _due_keys(waiting, retries, clock.utc_now(self._using))
        random.shuffle(keys)  # so that nodes share the work
        for batch in batches(keys, _BATCH):
            rows = {row.key: row for row in schedules_of(self._using).filter(key__in=batch)}
            newest = newest_ticks(self._using, list(rows))
            for key in batch:
                if time.monotonic() > latest:
                    return count
                row, now = rows.get(key), clock.utc_now(self._using)
                try:
                    count += 0 if row is None else self._fire(row, newest.get(key), now)
                except Error as error:
                    retries[key] = _next_retry(retries.get(key))
                    _logger.warning("schedule_not_fired schedule=%s error=%s", key, error)
                    if not self._is_usable():
                        raise
                    continue
                except Exception as error:
                    self._log_unreadable(key, error)
                    row = None
                waiting.pop(key, None)
                retries.pop(key, None)
                if row is not None:
                    self._wait(waiting, row, now)
        return count

    def _is_usable(self) -> bool:
        connection = connections[self._using]
        return connection.connection is not None and connection.is_usable()

    def _wait(self, waiting: dict[str, _Waiting], row: Schedule, handled: datetime | None) -> None:
        """Wait for the first tick of ``row`` after ``handled``, if this process may fire it."""
        try:
            if _target_of(row, self._using) is None:
                return
            ticks = row.parse_ticks()
            tick = ticks.next_after(max(row.active_since, handled or row.active_since))
        except Exception as error:
            self._log_unreadable(row.key, error)
            return
        if tick is not None:
            waiting[row.key] = _Waiting(row.pk, ticks, tick)

    def _log_unreadable(self, key: str, error: Exception) -> None:
        if key not in self._unreadable:
            self._unreadable.add(key)
            text = f"{type(error).__name__}: {error}"
            _logger.warning("schedule_unreadable schedule=%s error=%s", key, text)

    def _fire(self, row: Schedule, newest: datetime | None, now: datetime) -> int:
        handled = max(row.active_since, newest or row.active_since)
        count = 0
        for due in due_ticks(row, handled, now, self._using):
            tick = fire(due, self._using)
            count += tick is not None and tick.outcome == Outcome.FIRED
        return count


def _target_of(row: Schedule, using: str) -> ScheduleTarget | None:
    """What ``row`` of ``using`` enqueues; None if it is disabled, or not for this process to fire.

    The code of this process may be older or newer than that of the row: what it does not declare,
    or has no target for, is left to others.
    """
    if not row.enabled or (not row.is_own and row.key not in known_schedules()):
        return None
    target = find_target(row.target)
    is_here = target is not None and router.db_for_write(target.model) == using
    return target if is_here else None


def _due_keys(waiting: dict[str, _Waiting], retries: dict[str, _Retry], now: datetime) -> list[str]:
    keys = [key for key, one in waiting.items() if one.next_tick <= now]
    monotonic = time.monotonic()
    return [key for key in keys if key not in retries or retries[key].at <= monotonic]


def _next_retry(last: _Retry | None) -> _Retry:
    pause = _FIRST_PAUSE if last is None else min(2 * last.pause, _LONGEST_PAUSE)
    return _Retry(time.monotonic() + pause, pause)


def due_ticks(row: Schedule, handled: datetime, now: datetime, using: str) -> Iterator[DueTick]:
    """The ticks after ``handled`` that this process has to fire by now, in order.

    Of those that are too late, the last one is there as missed: that ends the search for them.
    """
    if (target := _target_of(row, using)) is not None:
        for due in _ticks_to_fire(row, target, handled, now):
            if _is_of_other_code(due):
                return
            yield due


def _ticks_to_fire(
    row: Schedule, target: ScheduleTarget, handled: datetime, now: datetime
) -> Iterator[DueTick]:
    is_all = row.catch_up == CatchUp.ALL
    ticks = last_ticks(row.parse_ticks(), handled, now, MAX_TICKS if is_all else 1)
    earliest = _earliest_to_fire(row, now)
    missed = [tick for tick in ticks if tick < earliest]
    if missed:
        late = timedelta(seconds=int((now - missed[-1]).total_seconds()))
        yield DueTick(row, missed[-1], target, {}, Outcome.MISSED, f"No node ran for {late}.")
    for tick in ticks[len(missed) :]:
        try:
            fields = fields_at(row, tick)
        except NotDeclared:
            return  # a function that newer or older code has: left to its nodes
        except Exception as error:
            if leaves_tick(error):
                raise
            message = f"The function of its fields raised {type(error).__name__}: {error}"
            yield DueTick(row, tick, target, {}, Outcome.FAILED, message)
        else:
            yield DueTick(row, tick, target, fields)


def _is_of_other_code(due: DueTick) -> bool:
    """Whether newer or older code has defined the schedule, with columns that this has not."""
    declared = known_schedules().get(due.schedule.key)
    if due.schedule.is_own or declared is None or declared.digest == due.schedule.digest:
        return False
    try:
        build_task(due.target, due.fields)
    except (TypeError, ValueError) as error:
        _logger.warning("schedule_of_other_code schedule=%s error=%s", due.schedule.key, error)
        return True
    return False


def fields_at(row: Schedule, tick: datetime) -> dict[str, Any]:
    """The fields of the task of ``tick``: those of the row, or of the function of the code.

    Raises NotDeclared if the code of this process has no such function, and whatever that raises.
    """
    if row.fields is not None:
        return dict(row.fields)
    declared = known_schedules().get(row.key)
    if declared is None or not declared.definition.is_computed:
        raise NotDeclared(row.key)
    zone = find_zone(row.zone) if row.zone else UTC
    return declared.definition.fields_at(tick.astimezone(zone))


def _earliest_to_fire(row: Schedule, now: datetime) -> datetime:
    """The time before which ticks are too old to be fired."""
    seconds = row.deadline
    if seconds is None and row.catch_up == CatchUp.SKIP:
        seconds = GRACE_SECONDS
    return datetime.min.replace(tzinfo=UTC) if seconds is None else now - timedelta(seconds=seconds)

"""Fire a tick: enqueue its task, once, whatever the number of processes that try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, InterfaceError, OperationalError, transaction

from ..context import acting_for_schedule
from ..db import clock
from ..db.conflicts import repeat_on_conflict
from ..db.errors import MissingSchema, error_text
from ..db.locks import begin_write
from ..exceptions import DuplicateTask
from ..ledger.task_row import all_rows, has_unique_key, table_model
from ..logs import get_logger
from ..states import FINAL
from ..transitions.unique_keys.conflicts import insert_or_resolve
from .definition import Overlap, jitter_of
from .tables import HAS_TASK, Outcome, Schedule, ScheduleTick, schedules_of, ticks_of
from .targets import ScheduleTarget, build_task
from .validation import texts_of

_logger = get_logger(__name__)


class _TooLate(Exception):
    """Another process has fired a later tick."""


@dataclass(frozen=True, slots=True)
class DueTick:
    """A tick to fire: the row of its schedule, and the fields of its task.

    ``outcome`` and ``message`` say that there is no task, and why.
    """

    schedule: Schedule
    tick: datetime
    target: ScheduleTarget
    fields: Mapping[str, Any]
    outcome: str = Outcome.FIRED
    message: str = ""


def fire(due: DueTick, using: str) -> ScheduleTick | None:
    """Insert the tick, and its task in the same transaction; None if another process has done it.

    A task that is not valid, or cannot be saved, makes the outcome ``failed``, which is logged. If
    its unique key is taken, it is refused, joins or replaces, as that of ``enqueue()``.
    None, too, if a later tick has been fired: this one is no longer made up for. Raises Error, and
    nothing has happened, if the database is away, or a table or a column is missing in it.
    """
    tick: ScheduleTick | None = repeat_on_conflict(using, partial(_fire, due, using))
    if tick is not None and tick.outcome == Outcome.FAILED:
        _logger.error("tick_failed schedule=%s tick=%s", tick.schedule, tick.tick.isoformat())
    return tick


def leaves_tick(error: Exception) -> bool:
    """Whether the tick is tried again: the database is away, or a migration is missing.

    Not all databases call a missing table or column an operational error.
    """
    is_missing = isinstance(error, Error) and isinstance(error_text(error), MissingSchema)
    return is_missing or isinstance(error, OperationalError | InterfaceError)


def run_now(
    row: Schedule, target: ScheduleTarget, fields: Mapping[str, Any], now: datetime, using: str
) -> Any:
    """Enqueue a task of the schedule now, beside its ticks; returns the task, or that it joins.

    Raises ValidationError, DuplicateTask or ValueError if it cannot be saved.
    """
    return repeat_on_conflict(using, partial(_run_now, row, target, fields, now, using))


def _run_now(
    row: Schedule, target: ScheduleTarget, fields: Mapping[str, Any], now: datetime, using: str
) -> Any:
    with transaction.atomic(using=using):
        begin_write(ScheduleTick, using)
        with acting_for_schedule(row.key):
            task = _insert_task(target, fields, timedelta(0), now, using)
        model, task_key = _reference(task)
        columns = {"outcome": Outcome.RUN_NOW, "model": model, "task_key": task_key}
        tick = _tick(row.key, now, **columns)
        tick.save(using=using, force_insert=True)
    return task


def _fire(due: DueTick, using: str) -> ScheduleTick | None:
    with transaction.atomic(using=using):
        begin_write(ScheduleTick, using)
        if due.schedule.overlap == Overlap.SKIP:
            _wait_for_other_ticks(due.schedule, using)
        tick = _tick(due.schedule.key, due.tick, outcome=due.outcome, message=due.message)
        # Before all that is read: the loser waits for the winner, and goes on if that rolls back.
        if not _insert_unless_there(tick, using):
            return None
        if due.outcome != Outcome.FIRED:
            return tick
        if due.schedule.overlap == Overlap.SKIP and _is_unfinished(due, using):
            tick.outcome, tick.message = Outcome.SKIPPED, "The last task has not ended."
        else:
            _enqueue(due, tick, using)
        tick.save(using=using, update_fields=["outcome", "message", "model", "task_key"])
        return tick


def _wait_for_other_ticks(row: Schedule, using: str) -> None:
    """Wait for the processes that fire other ticks of the schedule; they see this one, then.

    Otherwise both would see that the last task has ended. An update that changes nothing, not a
    locking read: of databases that show a transaction only what was there when it began, it lets
    one of two transactions be repeated
    (test_overlap_waits_for_a_process_that_fires_the_tick_before).
    """
    schedules_of(using).filter(pk=row.pk).update(overlap=row.overlap)


def _tick(key: str, tick: Any, **columns: str) -> ScheduleTick:
    return ScheduleTick(schedule=key, tick=tick, **columns)


def _insert_unless_there(tick: ScheduleTick, using: str) -> bool:
    try:
        with transaction.atomic(using=using):
            tick.save(using=using, force_insert=True)
            if _has_later(tick, using):
                raise _TooLate
    except (IntegrityError, _TooLate):
        return False
    return True


def _has_later(tick: ScheduleTick, using: str) -> bool:
    """Whether a later tick was fired, but for those of a clock that was ahead."""
    ticks = ticks_of(using).filter(schedule=tick.schedule).exclude(outcome=Outcome.RUN_NOW)
    later = ticks.filter(tick__gt=tick.tick, tick__lte=clock.utc_now(using))
    return bool(later.exists())


def _is_unfinished(due: DueTick, using: str) -> bool:
    """Whether the task of the newest tick before, of those that have one, has not ended."""
    earlier = ticks_of(using).filter(schedule=due.schedule.key, outcome__in=HAS_TASK)
    last = earlier.filter(tick__lt=due.tick).order_by("-tick").first()
    if last is None:
        return False
    try:
        root: Any = apps.get_model(last.model)
    except (LookupError, ValueError):
        return False
    try:
        pk = root._meta.pk.to_python(last.task_key)
    except ValidationError:
        return False  # its keys were of another type
    rows = all_rows(root, using).filter(pk=pk)
    return bool(rows.exclude(status__in=FINAL).exists())


def _enqueue(due: DueTick, tick: ScheduleTick, using: str) -> None:
    jitter = jitter_of(due.schedule.key, due.schedule.jitter)
    try:
        with (
            transaction.atomic(using=using),
            acting_for_schedule(due.schedule.key, due.tick.isoformat()),
        ):
            task = _insert_task(due.target, due.fields, jitter, due.tick, using)
    except DuplicateTask as error:
        tick.outcome, tick.message = Outcome.SKIPPED, str(error)
    except ValidationError as error:
        tick.outcome, tick.message = Outcome.FAILED, "\n".join(texts_of(error))
    except Exception as error:
        if leaves_tick(error):
            raise
        tick.outcome, tick.message = Outcome.FAILED, f"{type(error).__name__}: {error_text(error)}"
    else:
        tick.outcome = Outcome.JOINED if has_joined(task) else Outcome.FIRED
        tick.model, tick.task_key = _reference(task)


def _insert_task(
    target: ScheduleTarget,
    fields: Mapping[str, Any],
    jitter: timedelta,
    moment: datetime,
    using: str,
) -> Any:
    task = build_task(target, fields)
    task._state.db = using
    if jitter and task.run_after is None:
        task.run_after = moment + jitter
    is_unique = has_unique_key(target.model)
    # Whether a unique key is taken, is found out by the insert.
    task.full_clean(validate_unique=not is_unique)
    insert = partial(task.save, using=using, force_insert=True)
    if is_unique:
        return insert_or_resolve([task], using, lambda _: insert())[0]
    insert()
    return task


def has_joined(task: Any) -> bool:
    """Whether ``task`` was there already, and has the unique key of the new one."""
    return getattr(task, "was_joined", False)


def _reference(task: Any) -> tuple[str, str]:
    """The model that has the table of ``task``, and its key, as rows of ticks name them."""
    return table_model(type(task))._meta.label, str(task.pk)

"""When a task expires, and which transitions that forbids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Least
from django.utils import timezone

from ..db import clock
from ..exceptions import IllegalTransition, TaskExpired
from ..ledger.columns import is_as_loaded
from ..ledger.task_row import TaskRow, has_expiry, task_name, write_database
from ..logs import get_logger
from ..retries import seconds_of
from ..states import EventKind

_logger = get_logger(__name__)

_EXPECTED = "expected positive seconds or a timedelta from now, or an aware datetime"

#: When a task expires: a time, a timedelta or a number of seconds from now.
Expires = datetime | timedelta | float | None

#: The kinds whose events say when the task expires: those that let it wait, and the last one.
KINDS_WITH_EXPIRY = frozenset(
    {
        EventKind.ENQUEUE,
        EventKind.RESET,
        EventKind.RETRY,
        EventKind.SNOOZE,
        EventKind.BLOCK,
        EventKind.UNBLOCK,
        EventKind.EXPIRE,
    }
)


def forget_copied_expiry(tasks: Iterable[TaskRow]) -> None:
    """Let new tasks that are copies of others, as they were read, not expire with these."""
    for task in tasks:
        if has_expiry(type(task)) and is_as_loaded(task, "expires_at"):
            vars(task)["expires_at"] = None


def expiry_of_new(task: TaskRow, using: str) -> datetime | None:
    """When the new ``task`` in ``using`` expires: as it was given, else as its class says."""
    given = vars(task).get("expires_at")
    expires = task.django_simpletask3_expires if given is None else given
    return expiry_time(type(task), using, expires)


def expiry_time(model: type[TaskRow], using: str, expires: object) -> datetime | None:
    """The time that ``expires`` names for tasks of ``model``, by the clock of ``using``.

    Raises TypeError if tasks of the model do not expire, ValueError for a duration that is not
    positive; further errors as of ``clock.moment_of``.
    """
    if expires is None:
        return None
    if not has_expiry(model):
        label = model._meta.label
        raise TypeError(f"A {label} does not expire: derive the model from ExpiringTask.")
    if seconds_of(expires) <= 0:
        raise ValueError(f"expires is {expires!r}: {_EXPECTED}.")
    clock.refresh(using)  # a web process may never have read it
    moment = clock.moment_of(expires, using, name="expires")
    try:
        return moment.astimezone(UTC) if timezone.is_aware(moment) else moment
    except OverflowError:
        raise ValueError(f"expires is out of range: {_EXPECTED}.") from None


def earlier_of(check_at: Any, expires_at: datetime | None) -> Any:
    """``check_at`` of a task that waits, but not later than it expires."""
    if expires_at is None:
        return check_at
    if hasattr(check_at, "resolve_expression"):
        return Least(check_at, Value(expires_at, output_field=models.DateTimeField()))
    return check_at if clock.is_due(check_at, expires_at) else expires_at


def limit_check_at(model: type[TaskRow], check_at: Any) -> Any:
    """``earlier_of``, for an update of rows of ``model`` of which ``expires_at`` is not known."""
    if not has_expiry(model):
        return check_at
    if not hasattr(check_at, "resolve_expression"):
        check_at = Value(check_at, output_field=models.DateTimeField())
    return Case(When(expires_at__lt=check_at, then=F("expires_at")), default=check_at)


def not_expired(model: type[TaskRow], now: datetime) -> Q:
    """The condition of rows of ``model`` that may start at ``now``, as far as expiry goes."""
    return Q(expires_at=None) | Q(expires_at__gt=now) if has_expiry(model) else Q()


def has_expired(task: TaskRow) -> bool:
    """Whether the time at which ``task`` expires, as it was read, has passed."""
    if not has_expiry(type(task)):
        return False
    expires_at = vars(task)["expires_at"]
    return expires_at is not None and clock.is_past(expires_at, write_database(task))


def reject_by_expiry(task: TaskRow, kind: EventKind, row: Mapping[str, Any], now: datetime) -> None:
    """Raise TaskExpired for the start of an expired task, IllegalTransition for an early expiry."""
    if "expires_at" not in row:
        return
    expires_at = row["expires_at"]
    is_expired = expires_at is not None and expires_at <= now
    if kind is EventKind.START and is_expired:
        raise TaskExpired(f"{task_name(task)} expired at {expires_at}.")
    if kind is EventKind.EXPIRE and not is_expired:
        raise IllegalTransition(f"{task_name(task)} has not expired.", kind=kind)


def log_expired(tasks: Iterable[TaskRow]) -> None:
    """Log how many tasks of each model have expired: all of ``tasks``."""
    for label, count in Counter(task._meta.label for task in tasks).items():
        _logger.info("tasks_expired model=%s tasks=%s", label, count)

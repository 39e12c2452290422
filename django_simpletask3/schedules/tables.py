"""The tables of schedules, which every database with task tables has."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import models
from django.db.models import ExpressionWrapper, Value
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy as _

from ..conf.time_source import stored
from ..db import clock
from ..db.tables import has_table
from ..ledger.fields import MAX_TEXT, JSONTextField
from ..ledger.task_row import all_rows
from .definition import MAX_EXPRESSION, MAX_KEY, CatchUp, Overlap
from .ticks import Ticks, parse_ticks

#: Seconds for which it is remembered that a database has no table of schedules.
_CACHE_SECONDS = 300.0
#: Bits of a mark, in microseconds: the sum of a million marks is below the last year of a database.
_MARK_BITS = 36
#: A time in the past, to which the sum of the marks is added.
_MARKS_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


def new_change_mark() -> timedelta:
    """A random mark for a row that changes."""
    return timedelta(microseconds=secrets.randbits(_MARK_BITS))


class InstantField(models.CharField):  # type: ignore[type-arg]
    """An instant in UTC, as text that is ordered as the instants are.

    Where Django stores local times (USE_TZ is False), two ticks of the hour that autumn repeats
    would be one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_length": 32, **kwargs})

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs

    def from_db_value(self, value: Any, *_: Any) -> datetime | None:
        return datetime.fromisoformat(value) if value else None

    def to_python(self, value: Any) -> Any:
        return datetime.fromisoformat(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        return value


class Outcome(models.TextChoices):
    """What became of a tick."""

    FIRED = "fired", _("fired")
    #: The task with its unique key was there already, and is that of this tick, too.
    JOINED = "joined", _("joined")
    #: The task of an earlier tick had not ended, or its unique key was taken.
    SKIPPED = "skipped", _("skipped")
    #: No node ran in time.
    MISSED = "missed", _("missed")
    #: There is no task: its fields were not valid, or saving it raised.
    FAILED = "failed", _("failed")
    #: No tick: an operator had a task enqueued.
    RUN_NOW = "run_now", _("run now")


#: Ticks that have a task.
HAS_TASK = (Outcome.FIRED, Outcome.JOINED)


class Schedule(models.Model):
    """When tasks of a target are enqueued, and with which fields.

    Nodes go by the row. A server writes the definitions of its code into it when it starts; the
    rest is the operator's. Of own schedules, everything is.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(_("schedule"), max_length=MAX_KEY, unique=True)
    # The key of a ScheduleTarget, such as app.Report.
    target = models.CharField(_("task model"), max_length=MAX_TEXT)
    is_own = models.BooleanField(_("own schedule"), default=False, editable=False)
    cron = models.CharField(_("cron expression"), max_length=MAX_EXPRESSION, blank=True)
    zone = models.CharField(_("time zone"), max_length=64, blank=True)
    interval = models.DurationField(_("interval"), null=True, blank=True)
    # NULL if a function of the code returns them.
    fields = JSONTextField(_("fields"), null=True, blank=True)
    # A CatchUp.
    catch_up = models.CharField(_("missed ticks"), max_length=8, default=CatchUp.LAST)
    # An Overlap.
    overlap = models.CharField(
        _("if the last task has not ended"), max_length=8, default=Overlap.ALLOW
    )
    # Seconds.
    jitter = models.FloatField(_("jitter"), default=0.0)
    deadline = models.FloatField(_("deadline"), null=True, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True, editable=False)
    reason = models.CharField(_("reason"), max_length=MAX_TEXT, blank=True, editable=False)
    # Ticks up to that time are not fired: it is set when the schedule is made, enabled or retimed.
    active_since: Any = InstantField(editable=False)
    # Another one whenever the row changes: nodes read all rows again if the sum has changed. It is
    # a length of time because such a sum can be part of a query of times.
    change_mark = models.DurationField(editable=False, db_index=True)
    version = models.PositiveIntegerField(default=0, editable=False)
    digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        app_label = "django_simpletask3"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")

    def __str__(self) -> str:
        return self.key

    @property
    def when(self) -> Any:
        """The cron expression, or the interval."""
        return self.cron if self.interval is None else self.interval

    def parse_ticks(self) -> Ticks:
        """Its ticks; raises ValueError if the row has an expression or a zone that is none."""
        return parse_ticks(self.when, self.zone)


class ScheduleTick(models.Model):
    """What became of one tick of a schedule: the constraint lets one process fire it."""

    id = models.BigAutoField(primary_key=True)
    schedule = models.CharField(_("schedule"), max_length=MAX_KEY)
    tick: Any = InstantField(_("tick"))
    # An Outcome.
    outcome = models.CharField(_("outcome"), max_length=16)
    # The label of the model that has the table of the task.
    model = models.CharField(_("task model"), max_length=MAX_TEXT, blank=True)
    task_key = models.CharField(_("task"), max_length=MAX_TEXT, blank=True)
    message = models.TextField(_("message"), blank=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        unique_together = (("schedule", "tick"),)
        verbose_name = _("tick")
        verbose_name_plural = _("ticks")

    def __str__(self) -> str:
        return f"{self.schedule} {self.tick}"


def schedules_of(using: str) -> models.QuerySet[Any]:
    """All schedules in this database."""
    return all_rows(Schedule, using)


def ticks_of(using: str) -> models.QuerySet[Any]:
    """All ticks that this database knows, and what was run now."""
    return all_rows(ScheduleTick, using)


def newest_ticks(using: str, keys: list[str] | None = None) -> dict[str, datetime]:
    """The newest tick of each schedule, or of those with ``keys``, whatever became of it.

    Ticks of the future are ignored: a clock that was ahead has fired them.
    """
    ticks = ticks_of(using).exclude(outcome=Outcome.RUN_NOW).order_by()
    ticks = ticks.filter(tick__lte=clock.utc_now(using))
    if keys is not None:
        ticks = ticks.filter(schedule__in=keys)
    return dict(ticks.values_list("schedule").annotate(models.Max("tick")))


def sum_of_marks(using: str) -> Any:
    """One time that differs if a schedule was changed, as an unevaluated queryset.

    It is the sum of all marks after a time in the past: whatever the order in which changes are
    committed, each of them changes it. A newest time or number would hide what is committed later
    than it was written. NULL without schedules.
    """
    # In a union, MariaDB takes a bare value for a text.
    begin = Cast(Value(stored(_MARKS_BEGIN), models.DateTimeField()), models.DateTimeField())
    total = ExpressionWrapper(begin + models.Sum("change_mark"), models.DateTimeField())
    # All rows are one group, of no column.
    grouped = schedules_of(using).order_by().annotate(all_rows=Value(1)).values("all_rows")
    return grouped.annotate(total=total).values_list("total")


def has_schedules_table(using: str) -> bool:
    """Whether the database has the table; one query, and one every five minutes if it has not."""
    return _has_table(using, 0) or _has_table(using, 1 + int(time.monotonic() / _CACHE_SECONDS))


@lru_cache(maxsize=100)
def _has_table(using: str, _period: int) -> bool:
    return has_table(Schedule, using)

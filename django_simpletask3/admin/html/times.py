"""Durations and times in the user's language."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, date, datetime, timedelta

from django.conf import settings
from django.utils import formats, timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ...db import clock
from ...ledger.task_row import write_database
from ...models.explanation.durations import format_duration
from ...models.task import SimpleTask
from ...states import Status


def run_duration(task: SimpleTask) -> str | None:
    """The duration of the current or last run of ``task``."""
    is_running = task.status == Status.RUNNING
    end = clock.now(write_database(task)) if is_running else task.done_time
    return format_duration(end - task.start_time) if task.start_time and end else None


def waiting_duration(task: SimpleTask) -> str | None:
    """How long ``task`` has waited for its first run since it was due.

    The row does not record since when a later run was waited for; the timeline shows it.
    """
    if task._state.adding:
        return None
    if task.status != Status.PENDING:
        return _waiting_duration(task, task.start_time) if task.attempt == 1 else None
    now = clock.now(write_database(task))
    if task.run_after is not None and task.run_after > now:
        return _("due in {}").format(format_duration(task.run_after - now))
    return _waiting_duration(task, now) if task.attempt == 0 else None


def _waiting_duration(task: SimpleTask, until: datetime | None) -> str | None:
    if until is None:
        return None
    since = task.add_time if task.run_after is None else max(task.add_time, task.run_after)
    return format_duration(max(until - since, timedelta(0)))


def format_instant(instant: datetime) -> SafeString:
    """``instant`` in the current time zone, in milliseconds so that the order stays visible."""
    local = local_time(instant)
    day, time_of_day = local.isoformat(sep=" ", timespec="milliseconds")[:23].split(" ")
    return format_html('<time datetime="{}">{} {}</time>', local.isoformat(), day, time_of_day)


def moment(instant: datetime, now: datetime, *, seconds: bool = True) -> SafeString:
    """``instant`` as short as ``now`` allows: a time today, else a date, with a year if it differs.

    The ``<time>`` has the exact instant as its title.
    """
    local = local_time(instant)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        local.isoformat(sep=" ", timespec="milliseconds"),
        format_moment(instant, now, seconds=seconds),
    )


def time_or_day(instant: datetime, now: datetime) -> SafeString:
    """``instant`` in a narrow column: a time today, else a date; the title is exact."""
    local, today = local_time(instant), local_time(now).date()
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        local.isoformat(sep=" ", timespec="milliseconds"),
        f"{local:%H:%M}" if local.date() == today else format_day(local, today),
    )


def format_moment(instant: datetime, now: datetime, *, seconds: bool = True) -> str:
    """The text of ``moment``: "14:02:11", "27 Nov 14:02", "31 Dec 2025 14:02"."""
    local, today = local_time(instant), local_time(now).date()
    if local.date() == today:
        return local.strftime("%H:%M:%S" if seconds else "%H:%M")
    return f"{format_day(local, today)} {local:%H:%M}"


def format_day(day: date, today: date) -> str:
    """A date without its year, unless ``today`` is in another one: "27 Nov", "31 Dec 2025"."""
    if day.year == today.year:
        return formats.date_format(day, pgettext("date format", "j M"))
    return formats.date_format(day, pgettext("date format", "j M Y"))


def exact_time(instant: datetime, day: date | None = None) -> SafeString:
    """``instant`` to the millisecond, as in events, with its date if that is not ``day``."""
    local = local_time(instant)
    date_and_time = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
    if day is not None and local.date() != day:
        date_and_time = f"{format_day(local, day)} {date_and_time}"
    return format_html('<time datetime="{}">{}</time>', local.isoformat(), date_and_time)


def ago(instant: datetime, now: datetime) -> str:
    """How long before ``now`` it was, in one unit: "5 min ago", "just now"."""
    seconds = (now - instant).total_seconds()
    if seconds < 1:
        return _("just now")
    return _("%(duration)s ago") % {"duration": rough_duration(now - instant)}


def rough_duration(duration: timedelta) -> str:
    """``duration`` in whole units of one kind: "5 min"."""
    seconds = max(duration.total_seconds(), 0)
    for unit, text in (
        (86400, _("%(count)d d")),
        (3600, _("%(count)d h")),
        (60, _("%(count)d min")),
    ):
        if seconds >= unit:
            return text % {"count": seconds // unit}
    return _("%(count)d s") % {"count": seconds}


def rounded_duration(duration: timedelta) -> str:
    """As ``rough_duration``, but rounded instead of cut: for the time that something may take."""
    seconds, size = max(duration.total_seconds(), 0), 1
    for unit in (60, 3600, 86400):
        if round(seconds / size) * size < unit:
            break
        size = unit
    return rough_duration(timedelta(seconds=round(seconds / size) * size))


def today() -> date:
    """The date of now in the current time zone."""
    return local_time(timezone.now()).date()


def clock_time(instant: datetime) -> str:
    """Hours, minutes and seconds."""
    return f"{local_time(instant):%H:%M:%S}"


def parse_moment(text: str) -> datetime | None:
    """The time in ISO 8601, in the current time zone unless it names its own; None if it is none.

    It is aware if USE_TZ is on. A year that another time zone may put out of range is none, too.
    """
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    if moment is None or not MINYEAR < moment.year < MAXYEAR:
        return None
    if timezone.is_aware(moment) and not settings.USE_TZ:
        return timezone.make_naive(moment)
    return timezone.make_aware(moment) if settings.USE_TZ and timezone.is_naive(moment) else moment


def local_time(instant: datetime) -> datetime:
    """``instant`` in the current time zone; a naive one unchanged."""
    return timezone.localtime(instant) if timezone.is_aware(instant) else instant

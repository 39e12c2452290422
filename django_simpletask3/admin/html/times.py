"""Durations and times in the user's language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ...db import clock
from ...ledger.task_row import write_database
from ...models.task import SimpleTask
from ...states import Status

_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400


def format_duration(duration: timedelta) -> str:
    """``duration`` in one or two units, such as "250 ms", "1.2 s", "3 min 20 s", "2 d 4 h"."""
    seconds = duration.total_seconds()
    return f"-{_format_seconds(-seconds)}" if seconds < 0 else _format_seconds(seconds)


def _format_seconds(seconds: float) -> str:
    if round(seconds, 3) < _SECOND:
        return _("{} ms").format(round(seconds * 1000))
    if round(seconds, 1) < _MINUTE:
        return _("{} s").format(number_format(round(seconds, 1), 1))
    whole_seconds = round(seconds)
    if whole_seconds < _HOUR:
        return _("{} min {} s").format(*divmod(whole_seconds, _MINUTE))
    if whole_seconds < _DAY:
        return _("{} h {} min").format(*divmod(whole_seconds // _MINUTE, 60))
    return _("{} d {} h").format(*divmod(whole_seconds // _HOUR, 24))


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
    local = timezone.localtime(instant) if timezone.is_aware(instant) else instant
    day, time_of_day = local.isoformat(sep=" ", timespec="milliseconds")[:23].split(" ")
    return format_html('<time datetime="{}">{} {}</time>', local.isoformat(), day, time_of_day)


def format_timestamp(seconds: float | None) -> SafeString | str:
    """A Unix time in seconds, or an empty text for None."""
    if seconds is None:
        return ""
    instant = datetime.fromtimestamp(seconds, UTC)
    return format_instant(instant)

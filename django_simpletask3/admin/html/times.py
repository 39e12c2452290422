"""Durations and times in the user's language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

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
    local = timezone.localtime(instant) if timezone.is_aware(instant) else instant
    day, time_of_day = local.isoformat(sep=" ", timespec="milliseconds")[:23].split(" ")
    return format_html('<time datetime="{}">{} {}</time>', local.isoformat(), day, time_of_day)


def format_timestamp(seconds: float | None) -> SafeString | str:
    """A Unix time in seconds, or an empty text for None."""
    if seconds is None:
        return ""
    instant = datetime.fromtimestamp(seconds, UTC)
    return format_instant(instant)

"""The columns of the list of schedules: one line for each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.apps import apps
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...db import clock
from ...models.task import SimpleTask
from ...monitoring.schedules import in_zone_of, is_orphaned, next_ticks, when_text
from ...schedules.tables import Outcome, Schedule, ScheduleTick
from ..html.icons import icon
from ..html.times import format_moment, rounded_duration
from ..html.values import escape_invisible
from ..html.words import quoted
from ..package_list import BOX, PackageChangeList, pill
from ..task_list.empty import EmptyList
from ..task_list.rows import Column
from ..viewer import Viewer
from .actions import database

_CODE = '@schedule("0 6 * * *")\nclass Report(SimpleTask):'


class ScheduleChangeList(PackageChangeList):
    """The list of schedules."""

    look: ClassVar[Mapping[str, Column]] = {
        "action_checkbox": BOX,
        "name_view": Column("st3-c-schedule", "st3-whole"),
        "status_view": Column("st3-c-pill"),
        "next_run": Column("", "st3-full", gettext_lazy("next run")),
        "when_view": Column("st3-c-cron", "", gettext_lazy("when")),
        "last_run": Column("st3-c-tick", "", gettext_lazy("last run")),
    }

    def explain_empty(self) -> EmptyList:
        """How a schedule is made."""
        note = _("Put one on a task class, or add one here: a node enqueues a task when it is due.")
        return EmptyList(_("There is no schedule"), note, _CODE)


def name_cell(row: Schedule) -> SafeString:
    """The key, and the task model if the key does not begin with it."""
    key, target = escape_invisible(row.key), escape_invisible(row.target)
    if key.startswith(target):
        return format_html('<span title="{0}">{0}</span>', key)
    words = '<span title="{0}: {1}">{0} <span class="st3-quiet">{1}</span></span>'
    return format_html(words, key, target)


def status_pill(row: Schedule, state: str) -> SafeString:
    """Whether it is fired; ``state`` says why not."""
    if not _is_readable(row):
        return pill("failed", _("not fired"), state)
    if not row.enabled:
        return pill("canceled", _("disabled"), state)
    if is_orphaned(row, database()):
        return pill("lost", _("not fired"), state, "warn")
    return pill("scheduled", _("enabled"), state)


def next_run(row: Schedule, state: str, now: datetime) -> SafeString | str:
    """When it is due next, and how soon; or why it is not."""
    tick = next(iter(next_tick_times(row, 1)), None)
    if tick is None:
        words = quoted(row.reason) if _is_readable(row) and not row.enabled else state
        is_known = _is_readable(row) and row.enabled and not is_orphaned(row, database())
        text = "" if is_known else escape_invisible(str(words))
        return format_html('<span title="{0}">{0}</span>', text) if text else ""
    ahead = rounded_duration(max(tick - now, timedelta(0)))
    time = format_moment(tick, now, seconds=False)
    words = _("%(time)s, in %(duration)s") % {"time": time, "duration": ahead}
    return _timed(tick, words)


def last_run(row: Any, now: datetime) -> SafeString | str:
    """What became of the newest tick, and when; the time is a link to the task."""
    tick: ScheduleTick | None = row.last
    if tick is None:
        return ""
    time = format_moment(tick.tick, now, seconds=False)
    linked = task_link(tick, row.viewer, time) if tick.task_key else time
    is_bad = tick.outcome in (Outcome.FAILED, Outcome.MISSED)
    outcome = format_html("{} {}", icon("failed"), outcome_word(tick)) if is_bad else ""
    return format_html(
        '<span title="{}">{} <span class="{}">{}</span></span>',
        escape_invisible(f"{exact_text(in_zone_of(row, tick.tick))} {tick.message}".strip()),
        linked,
        "st3-failed st3-colour" if is_bad else "st3-quiet",
        outcome or outcome_word(tick),
    )


def when_cell(row: Schedule) -> SafeString:
    """The expression and its zone, or the interval."""
    text = escape_invisible(f"{when_text(row)} {row.zone}".strip())
    return format_html('<span title="{0}">{0}</span>', text)


def next_tick_times(row: Schedule, number: int) -> list[datetime]:
    """The next ticks in the zone of the schedule; none if it is not fired."""
    if is_orphaned(row, database()):
        return []
    try:
        return next_ticks(row, clock.utc_now(database()), number)
    except (ValueError, OverflowError):
        return []


def exact_text(tick: datetime) -> str:
    """The time of the zone of the schedule, with that zone's offset."""
    return f"{date_format(tick, 'DATETIME_FORMAT', use_l10n=True)} {tick:%z}"


def outcome_word(tick: ScheduleTick) -> str:
    """What became of the tick, in a word."""
    return str(Outcome(tick.outcome).label if tick.outcome in Outcome.values else tick.outcome)


def task_link(tick: ScheduleTick, viewer: Viewer, text: str = "") -> SafeString | str:
    """A link to the task of the tick, if it has one; without ``text``, its model and key."""
    if not tick.task_key:
        return ""
    try:
        model: Any = apps.get_model(tick.model)
    except (LookupError, ValueError):
        return text or f"{tick.model} {tick.task_key}"
    if not issubclass(model, SimpleTask):
        return text
    return viewer.link(model, database(), tick.task_key, text)


def _timed(tick: datetime, words: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', tick.isoformat(), exact_text(tick), words
    )


def _is_readable(row: Schedule) -> bool:
    try:
        row.parse_ticks()
    except ValueError:
        return False
    return True

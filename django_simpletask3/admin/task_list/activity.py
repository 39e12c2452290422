"""What is going on with each task of a list, in one line: the column between status and attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...dependencies.serving import PREREQUISITE_FAILED
from ...models.explanation.durations import format_duration
from ...models.explanation.status_change import StatusChange
from ...models.task import SimpleTask
from ...states import LIMIT_REASON, EventKind, Status
from ..html import times, words
from ..html.values import escape_invisible
from ..task_details.progress import Progress
from .last_events import LastEvents

#: Characters of the line; a cell shows fewer, its title all of these.
MAX_LENGTH = 300
#: Shares and run times from which the time that is left can be estimated.
_MIN_SHARE, _MIN_RUN_TIME = 0.02, timedelta(seconds=5)


def render_activity(task: SimpleTask, events: LastEvents, now: datetime) -> SafeString | str:
    """The line of ``task`` as HTML: a bar if it reports progress, and words."""
    text = describe_in_line(task, events, now)
    bar = _progress_bar(task, events.progress) if task.status == Status.RUNNING else ""
    if not text and not bar:
        return ""
    return format_html(
        '<div class="st3-what-cell">{}<span title="{}">{}</span></div>', bar, text, text
    )


def describe_in_line(task: SimpleTask, events: LastEvents, now: datetime) -> str:
    """The words of the line, with what is invisible escaped."""
    return _one_line(describe(task, events, now))


def describe(task: SimpleTask, events: LastEvents, now: datetime) -> str:
    """The words of the line; empty for a status unknown to this version."""
    describe_status = _DESCRIBE.get(task.status)
    return describe_status(task, events, now) if describe_status else ""


def _running(task: SimpleTask, events: LastEvents, now: datetime) -> str:
    if task.check_at is not None and task.check_at <= now:
        return _("its worker reports no more: it is about to be recovered")
    run_time = now - task.start_time if task.start_time else timedelta()
    progress, note = events.progress, _newer_note(events)
    if progress is None and not note:
        return _("for %(duration)s, reports no progress") % {"duration": format_duration(run_time)}
    if progress is None:
        return note
    said = progress.words or progress.amount or progress.text
    return _joined(said, note, _time_left(progress, run_time))


def _newer_note(events: LastEvents) -> str:
    """The words of the last note, unless they are older than the progress."""
    note, progress_time = events.note, events.progress_time
    if note is None or (progress_time and note.time and note.time <= progress_time):
        return ""
    return note.reason


def _time_left(progress: Progress | None, run_time: timedelta) -> str:
    share = progress.share if progress else None
    if share is None or not _MIN_SHARE <= share < 1 or run_time < _MIN_RUN_TIME:
        return ""
    left = times.rounded_duration(run_time * ((1 - share) / share))
    return _("%(duration)s left") % {"duration": left}


def _waiting(task: SimpleTask, events: LastEvents, now: datetime) -> str:
    why = _why_again(events)
    if task.run_after is not None and task.run_after > now:
        return _scheduled(task.run_after, why, events.kind, now)
    since = max(filter(None, (task.add_time, task.run_after, _since(events))))
    waited = format_duration(max(now - since, timedelta()))
    return _joined(_("for %(duration)s") % {"duration": waited}, why)


def _scheduled(run_after: datetime, why: str, kind: object, now: datetime) -> str:
    duration = format_duration(run_after - now)
    if kind == EventKind.RETRY:
        return _joined(_("retries in %(duration)s") % {"duration": duration}, why)
    if why:
        return _joined(_("again in %(duration)s") % {"duration": duration}, why)
    time = times.format_moment(run_after, now, seconds=False)
    return _("%(time)s, in %(duration)s") % {"time": time, "duration": duration}


def _why_again(events: LastEvents) -> str:
    """Why a task waits that has run, or was taken back, before."""
    change = events.change
    if change is None:
        return ""
    if change.kind == EventKind.RETRY:
        error = events.error
        return _("after %(error)s") % {"error": error} if error else ""
    if change.kind == EventKind.SNOOZE:
        return _joined(_("snoozed"), words.quoted(change.reason), between=" ")
    if change.kind == EventKind.RECOVER:
        is_message = change.reason == "message_lost"
        return _("after its message was lost") if is_message else _("after its worker was lost")
    if change.kind == EventKind.RELEASE:
        return _("handed back by its worker")
    if change.kind == EventKind.RESET:
        return _by_whom(_("reset"), change)
    return ""


def _blocked(_task: SimpleTask, events: LastEvents, _now: datetime) -> str:
    change = events.change
    if change is None:
        return ""
    data = change.data if isinstance(change.data, dict) else {}
    if change.reason == LIMIT_REASON and "limit" in data:
        return _("for a place of the limit %(limit)s") % {"limit": data["limit"]}
    if "group" in data:
        missing = events.missing
        if not missing:
            return _("for other tasks")
        text = ngettext("for %(count)d task to end", "for %(count)d tasks to end", missing)
        return text % {"count": missing}
    return _by_whom(_("until it is unblocked"), change)


def _failed(_task: SimpleTask, events: LastEvents, _now: datetime) -> str:
    if events.kind != EventKind.DROP or events.change is None:
        return events.error
    data = events.change.data if isinstance(events.change.data, dict) else {}
    losses, worker = data.get("losses"), str(data.get("lost_worker") or "")
    if not isinstance(losses, int):
        return _("given up: %(error)s") % {"error": events.error} if events.error else ""
    text = ngettext(
        "given up after %(count)d lost worker", "given up after %(count)d lost workers", losses
    )
    last = _("last: %(worker)s") % {"worker": words.worker_node(worker)} if worker else ""
    return _joined(text % {"count": losses}, last)


def _canceled(_task: SimpleTask, events: LastEvents, _now: datetime) -> str:
    change = events.change
    if change is None:
        return ""
    if change.kind == EventKind.EXPIRE:
        return _("expired before it started")
    if change.reason == PREREQUISITE_FAILED:
        return _("a task that it waited for has failed")
    if change.reason == "replaced":
        return _("replaced by a new task with its unique key")
    return _by_whom("", change)


def _succeeded(task: SimpleTask, events: LastEvents, _now: datetime) -> str:
    if events.result:
        return events.result
    return _("in attempt %(number)d") % {"number": task.attempt} if task.attempt > 1 else ""


_DESCRIBE: Mapping[Any, Callable[[SimpleTask, LastEvents, datetime], str]] = {
    Status.PENDING: _waiting,
    Status.BLOCKED: _blocked,
    Status.RUNNING: _running,
    Status.SUCCESS: _succeeded,
    Status.FAILED: _failed,
    Status.CANCELED: _canceled,
}
#: Reasons that the actions of the admin give if the user gives none: the actor says it all.
_DEFAULT_REASONS = frozenset(
    {
        "canceled in the admin",
        "canceled by force in the admin",
        "reset in the admin",
        "retried in the admin",
    }
)


def _by_whom(what: str, change: StatusChange) -> str:
    """``what``, and by whom and why: "reset by maria: “the bank is open again”"."""
    reason = "" if change.reason in _DEFAULT_REASONS else words.quoted(change.reason)
    who = _joined(what, words.by(change.actor), between=" ")
    return _joined(who, reason, between=": ")


def _since(events: LastEvents) -> datetime | None:
    return events.change.time if events.change else None


def _joined(*parts: str, between: str = ", ") -> str:
    return between.join(filter(None, parts))


def _one_line(text: str) -> str:
    line = escape_invisible(" ".join(text.split()))
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"


def _progress_bar(task: SimpleTask, progress: Progress | None) -> SafeString | str:
    if progress is None or progress.percent is None:
        return ""
    label = _("Progress of %(task)s") % {"task": escape_invisible(str(task.pk))}
    template = '<progress class="st3-progress" max="100" value="{}" aria-label="{}"></progress>'
    return format_html(template, progress.percent, label)

"""The stat line in the head of a task's page: label, value and note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ....conf.leases import policy_of
from ....models.explanation.durations import format_duration
from ....states import FINAL, Status
from ... import related_links
from ...html import times, values, words
from ...html.pills import STATE_WORDS
from ...html.reasons import reason_words
from ..facts import TaskFacts

_Text = SafeString | str | Promise


@dataclass(frozen=True, slots=True)
class Stat:
    """A value with its label, and a note that explains it."""

    label: _Text
    value: _Text
    note: _Text = ""


def stats(facts: TaskFacts) -> list[Stat]:
    """The values that are known and still count, in their order."""
    found = (read(facts) for read in _READERS)
    return [stat for stat in found if stat is not None]


def _ended(facts: TaskFacts) -> Stat | None:
    task = facts.task
    if task.status not in FINAL or task.done_time is None or facts.state is None:
        return None
    return Stat(
        capfirst(STATE_WORDS[facts.state]),
        times.ago(task.done_time, facts.now),
        times.moment(task.done_time, facts.now),
    )


def _runs_next(facts: TaskFacts) -> Stat | None:
    task = facts.task
    if task.status not in (Status.PENDING, Status.BLOCKED) or task.run_after is None:
        return None
    if task.run_after <= facts.now:
        return None
    duration = format_duration(task.run_after - facts.now)
    return Stat(
        _("May run") if task.status == Status.BLOCKED else _("Runs next"),
        _("in %(duration)s") % {"duration": duration},
        times.moment(task.run_after, facts.now),
    )


def _waited(facts: TaskFacts) -> Stat | None:
    life = facts.life
    wait = life.first_wait
    if wait is None:
        text = times.waiting_duration(facts.task)
        has_started = facts.task.status != Status.PENDING
        return Stat(_("Waited"), text) if text and has_started else None
    is_first = facts.is_open and life.attempts[-1:] == life.attempts[:1] and not life.run_durations
    if is_first and life.due_time is not None and life.due_time > facts.now:
        return None
    note = ""
    if life.later_waits:
        note = _("and %(duration)s for a retry") % {"duration": format_duration(life.later_waits)}
    elif life.blocked:
        note = _("blocked for %(duration)s") % {"duration": format_duration(life.blocked)}
    return Stat(_("Waits for") if is_first else _("Waited"), format_duration(wait), note)


def _ran(facts: TaskFacts) -> Stat | None:
    task = facts.task
    duration = times.run_duration(task)
    if duration is None or task.status in (Status.PENDING, Status.BLOCKED):
        return None
    runs = facts.life.run_durations
    total = format_duration(sum(runs, timedelta(0)))
    note = _("%(duration)s in all") % {"duration": total} if len(runs) > 1 else ""
    return Stat(_("Runs for") if task.status == Status.RUNNING else _("Ran"), duration, note)


def _attempts(facts: TaskFacts) -> Stat | None:
    if not facts.task.attempt:
        return None
    label = _("Attempts") if facts.task.attempt > 1 else _("Attempt")
    note = " · ".join(filter(None, (_retry_words(facts), _loss_words(facts.life.losses))))
    return Stat(label, str(facts.task.attempt), note)


def _retry_words(facts: TaskFacts) -> str:
    if facts.life.begin is None:
        return ""
    most, used = facts.task.django_simpletask3_max_retries, facts.life.retries
    if most is None:
        return _("retry %(number)d") % {"number": used} if used else _("retried without a limit")
    if facts.task.status == Status.FAILED and most:
        return _("no retry is left") if used >= most else _retry_of(used, most)
    if used:
        return _retry_of(used, most)
    if facts.task.status == Status.SUCCESS and most:
        return _("no retry was needed")
    if not most or facts.task.status in FINAL:
        return ""
    text = ngettext("up to %(count)d retry", "up to %(count)d retries", most)
    return text % {"count": most}


def _retry_of(used: int, most: int) -> str:
    return _("retry %(number)d of %(count)d") % {"number": used, "count": most} if used else ""


def _loss_words(losses: int) -> str:
    text = ngettext("%(count)d loss", "%(count)d losses", losses) if losses else ""
    return text % {"count": losses} if text else ""


def _worker(facts: TaskFacts) -> Stat | None:
    task = facts.task
    link = related_links.worker(facts.site, task)
    if not link:
        return None
    is_the_one = task.status in (Status.RUNNING, Status.SUCCESS)
    return Stat(_("Worker") if is_the_one else _("Last worker"), link, _report_words(facts))


def _report_words(facts: TaskFacts) -> str:
    """When the worker of a running task last renewed the lease."""
    task = facts.task
    if task.status != Status.RUNNING or task.check_at is None:
        return ""
    lease = timedelta(seconds=policy_of(task.get_event_channel()).lease)
    since = facts.now - (task.check_at - lease)
    if not timedelta(0) <= since <= lease:
        return ""
    return _("reported %(duration)s ago") % {"duration": times.rough_duration(since)}


def _enqueued(facts: TaskFacts) -> Stat:
    task, event = facts.task, facts.enqueued
    time = times.moment(task.add_time, facts.now)
    actor = "" if event is None else event.actor
    reason = "" if event is None else reason_words(event.reason)
    if not actor:
        note = format_html("{}, {}", time, reason) if reason else time
        return Stat(_("Enqueued"), times.ago(task.add_time, facts.now), note)
    note = format_html("{}, {}", time, reason) if reason else time
    return Stat(_("Enqueued by"), values.with_breaks(words.actor_label(actor)), note)


def _if_lost(facts: TaskFacts) -> Stat | None:
    task = facts.task
    if task.status != Status.RUNNING:
        return None
    policy = policy_of(task.get_event_channel())
    most = task.django_simpletask3_max_attempts
    is_given_up = policy.action == "drop" or (most and facts.life.losses + 1 >= most)
    silence = times.rough_duration(timedelta(seconds=policy.lease))
    return Stat(
        _("If it is lost"),
        _("it is given up") if is_given_up else _("runs again"),
        _("after %(duration)s of silence") % {"duration": silence},
    )


def _priority(facts: TaskFacts) -> Stat | None:
    is_waiting = facts.task.status in (Status.PENDING, Status.BLOCKED)
    has_priority = is_waiting and facts.task.priority
    return Stat(_("Priority"), str(facts.task.priority)) if has_priority else None


def _expires(facts: TaskFacts) -> Stat | None:
    expires_at: Any = vars(facts.task).get("expires_at")
    is_waiting = facts.task.status in (Status.PENDING, Status.BLOCKED)
    if expires_at is None or not is_waiting or expires_at <= facts.now:
        return None
    duration = format_duration(expires_at - facts.now)
    return Stat(
        _("Expires"),
        _("in %(duration)s") % {"duration": duration},
        times.moment(expires_at, facts.now),
    )


_READERS: tuple[Callable[[TaskFacts], Stat | None], ...] = (
    _ended,
    _runs_next,
    _waited,
    _ran,
    _attempts,
    _worker,
    _enqueued,
    _if_lost,
    _priority,
    _expires,
)

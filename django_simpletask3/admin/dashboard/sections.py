"""The lower sections: schedules due next, recoveries of the day, blocked tasks, subscriptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.db import Error, router
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...db import clock
from ...ledger.outbox import Delivery
from ...ledger.task_row import table_model
from ...models.task import SimpleTask
from ...monitoring.schedules import UpcomingSchedule, upcoming_schedules, when_text
from ...recovery.lost_messages import MESSAGE_LOST
from ...recovery.service import LEASE_EXPIRED, WORKER_DIED
from ...schedules.tables import HAS_TASK, Outcome, Schedule, ScheduleTick
from ...schedules.targets import find_target
from ...states import EventKind
from ..html.pills import STATE_WORDS, State
from ..html.times import format_moment, rounded_duration
from ..html.values import escape_invisible, format_count
from ..html.words import quoted
from ..task_details.named_tasks import TaskKey
from .board import Board
from .charts import format_seconds

#: Schedules that are shown.
MAX_SCHEDULES = 4
#: From that on, the next tick stands alone, without how far away it is.
_FAR = timedelta(days=1)


def read_schedules(board: Board) -> tuple[list[UpcomingSchedule], int]:
    """The schedules that are due first, and how many the user may view."""
    site, using = board.viewer.site, router.db_for_write(Schedule)
    if not site.is_registered(Schedule) or using in (board.scope.unreachable or {}):
        return [], 0
    if not site.get_model_admin(Schedule).has_view_permission(board.viewer.request):
        return [], 0
    try:
        return upcoming_schedules(using, MAX_SCHEDULES, lambda row: _may_view(board, row))
    except Error as error:
        board.scope.mark_unreachable(using, error)
        return [], 0


def tick_key(tick: ScheduleTick | None) -> TaskKey | None:
    """The task of a tick, if it has one."""
    if tick is None or tick.outcome not in HAS_TASK or not tick.task_key:
        return None
    try:
        model: Any = apps.get_model(tick.model)
    except (LookupError, ValueError):
        return None
    if not issubclass(model, SimpleTask):
        return None
    return TaskKey(table_model(model), router.db_for_write(Schedule), tick.task_key)


def schedule_rows(
    board: Board, schedules: Iterable[UpcomingSchedule], states: dict[TaskKey, State]
) -> list[dict[str, Any]]:
    """The rows of the table of schedules."""
    return [_schedule_row(board, schedule, states) for schedule in schedules]


def recovery_rows(board: Board) -> list[dict[str, Any]]:
    """How often a task was recovered, given up, handed back or refused, and why."""
    return [
        {
            "number": f"{format_count(number)}{'+' if kind in board.recoveries.capped else ''}",
            "words": _recovery_words(kind, number),
            "reason": escape_invisible(reason),
            "why": _recovery_reason(board, kind, reason),
            "query": urlencode(
                {"kind": kind, **_reason_parameters(reason), "after": board.since.isoformat()}
            ),
        }
        for (kind, reason), number in board.recoveries.numbers.items()
    ]


def blocked_rows(board: Board) -> list[dict[str, str]]:
    """The limits with tasks that run or wait, and the tasks that wait for others."""
    return [*_limit_rows(board), *_dependency_rows(board)]


def subscription_rows(board: Board) -> list[dict[str, Any]]:
    """The durable subscriptions, with how far they are behind."""
    return [
        {
            "name": escape_invisible(health.subscription),
            "database": health.database,
            "behind": format_seconds(health.lag),
            "waiting": format_count(health.waiting),
            "dead": format_count(health.dead) if health.dead else "",
        }
        for health in board.health.subscriptions
    ]


def deliveries_url(board: Board, subscription: str = "") -> str:
    """The address of the list of deliveries; empty if the user may not view it."""
    url = board.viewer.list_url(Delivery)
    return f"{url}?{urlencode({'subscription': subscription})}" if url and subscription else url


def add_schedule_url(board: Board) -> str:
    """The address of the form of a new schedule; empty if the user may not add one."""
    site = board.viewer.site
    if not board.viewer.list_url(Schedule):
        return ""
    if not site.get_model_admin(Schedule).has_add_permission(board.viewer.request):
        return ""
    return reverse(f"{site.name}:django_simpletask3_schedule_add")


def schedule_url(board: Board, key: str = "") -> str:
    """The address of the list of schedules, or of those that ``key`` finds; empty without one."""
    url = board.viewer.list_url(Schedule)
    return f"{url}?{urlencode({'q': key})}" if url and key else url


def _may_view(board: Board, row: Schedule) -> bool:
    target = find_target(row.target)
    return target is None or board.viewer.may_view(target.model)


def _schedule_row(
    board: Board, schedule: UpcomingSchedule, states: dict[TaskKey, State]
) -> dict[str, Any]:
    row, last = schedule.row, schedule.last
    key = tick_key(last)
    state = states.get(key) if key else None
    return {
        "name": escape_invisible(row.key),
        "url": _schedule_page(board, row),
        "title": escape_invisible(f"{when_text(row)} {row.zone}".strip()),
        "next": _next_words(schedule),
        "last": "" if last is None else format_moment(last.tick, _now(), seconds=False),
        "last_state": state or _tick_state(last),
        "outcome": _tick_outcome(last, state),
    }


def _schedule_page(board: Board, row: Schedule) -> str:
    name = f"{board.viewer.site.name}:django_simpletask3_schedule_change"
    try:
        return reverse(name, args=[row.pk])
    except NoReverseMatch:
        return ""


def _now() -> datetime:
    return clock.utc_now(router.db_for_write(Schedule))


def _next_words(schedule: UpcomingSchedule) -> str:
    if schedule.next is None:
        reason = quoted(schedule.row.reason)
        words = _("not fired") if schedule.row.enabled else _("switched off")
        return f"{words} {reason}" if reason else words
    now = _now()
    time, ahead = format_moment(schedule.next, now, seconds=False), schedule.next - now
    if ahead >= _FAR:
        return time
    duration = rounded_duration(max(ahead, timedelta(0)))
    return _("%(time)s, in %(duration)s") % {"time": time, "duration": duration}


def _tick_state(tick: ScheduleTick | None) -> str:
    if tick is None:
        return ""
    return State.FAILED if tick.outcome in (Outcome.FAILED, Outcome.MISSED) else "note"


def _tick_outcome(tick: ScheduleTick | None, state: State | None) -> str:
    if tick is None:
        return ""
    if state is not None:
        return str(STATE_WORDS[state])
    return str(Outcome(tick.outcome).label if tick.outcome in Outcome.values else tick.outcome)


def _recovery_words(kind: str, number: int) -> str:
    words = {
        EventKind.RECOVER: ngettext("task was recovered", "times a task was recovered", number),
        EventKind.DROP: ngettext("task was given up", "times a task was given up", number),
        EventKind.RELEASE: ngettext("task was handed back", "times a task was handed back", number),
        EventKind.REJECT: ngettext("late result was refused", "late results were refused", number),
    }
    return words.get(EventKind(kind), kind)


def _recovery_reason(board: Board, kind: str, reason: str) -> str:
    known = {
        WORKER_DIED: _("the worker was lost"),
        LEASE_EXPIRED: _("the worker no longer answered"),
        MESSAGE_LOST: _("the message was lost"),
    }
    words = known.get(reason) or quoted(reason)
    newest = next((o for o in board.losses if (o.kind, o.reason) == (kind, reason)), None)
    if newest is None:
        return words
    return f"{words}, {format_moment(newest.time, board.now, seconds=False)}"


def _reason_parameters(reason: str) -> dict[str, str]:
    return {"reason": reason} if reason else {"unreasoned": "on"}


def _limit_rows(board: Board) -> Iterator[dict[str, str]]:
    for limit in board.health.limits:
        if not limit.taken and not limit.waiting:
            continue
        taken = format_count(limit.taken)
        # Of a limit with keys, each key has so many places.
        places = _("%(taken)s taken, %(places)s per key") if limit.running else "%(taken)s"
        yield {
            "name": _("a place at %(limit)s") % {"limit": escape_invisible(limit.limit)},
            "database": limit.database,
            "taken": places % {"taken": taken, "places": limit.running},
            "waiting": format_count(limit.waiting),
            "oldest": format_seconds(limit.longest_wait),
        }


def _dependency_rows(board: Board) -> Iterator[dict[str, str]]:
    for health in board.health.dependencies:
        if health.waiting or health.open_groups:
            groups = ngettext("%d group", "%d groups", health.open_groups) % health.open_groups
            yield {
                "name": _("other tasks"),
                "database": health.database,
                "taken": groups,
                "waiting": format_count(health.waiting),
                "oldest": format_seconds(health.longest_wait),
            }

"""Find the cause why a task that waits for a worker does not start."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext_noop, ngettext_lazy

from ...control import OperatorCommand
from ...db import clock
from ...exceptions import InvalidSetting, QueueRefused, QueueUnavailable
from ...ledger.task_row import TaskRow, has_expiry, write_database
from ...states import EventKind
from .sentences import Cause, Explanation, details_of, with_details
from .status_change import StatusChange
from .surroundings import MAX_PLACE, Surroundings, Whereabouts, find_message, read_surroundings

_BEHIND = ngettext_lazy(
    "It waits behind %(count)d other task of its queue.",
    "It waits behind %(count)d other tasks of its queue.",
    "count",
)

#: Of tasks that are not due yet, by the kind of the event that made them wait; else _NOT_DUE.
_NOT_DUE_AFTER: Mapping[str, str] = {
    EventKind.RETRY: gettext_noop(
        "It failed (%(error)s) and is tried again in %(duration)s, at %(time)s."
    ),
    EventKind.SNOOZE: gettext_noop(
        "Its function asked to be called again in %(duration)s, at %(time)s (%(details)s)."
    ),
    EventKind.RECOVER: gettext_noop(
        "Its worker was lost (%(details)s), and it starts again in %(duration)s, at %(time)s."
    ),
}
_SNOOZED = gettext_noop("Its function asked to be called again in %(duration)s, at %(time)s.")
_NOT_DUE = gettext_noop("It is due in %(duration)s, at %(time)s.")


def explain_pending(
    row: TaskRow,
    change: StatusChange,
    model: type[TaskRow],
    surroundings: Surroundings | None = None,
) -> Explanation:
    """Why a PENDING task that was saved as ``model`` does not run now.

    ``surroundings`` are read if they are not given.
    """
    now, expires_at = clock.now(write_database(row)), expiry_of(row)
    if expires_at is not None and expires_at <= now:
        sentence = gettext_noop("It expired at %(time)s, and recovery cancels it.")
        return Explanation(Cause.EXPIRED, sentence, {"time": expires_at})
    if not clock.is_due(row.run_after, now):
        return _explain_not_due(row, change, now)
    known = surroundings or read_surroundings(model)
    found = _explain_queue(known, model) or _explain_message(row, model, now)
    return Explanation(found.cause, found.sentence, found.values, expires_at)


def explain_pause(pause: OperatorCommand) -> Explanation:
    """Why no task of a queue starts that ``pause`` has paused."""
    values = {
        "model": pause.target,
        "time": pause.time,
        "details": details_of(pause.actor, pause.reason),
    }
    return with_details(
        Cause.PAUSED,
        gettext_noop("The queue of %(model)s has been paused since %(time)s."),
        gettext_noop("The queue of %(model)s has been paused since %(time)s (%(details)s)."),
        values,
    )


def _explain_not_due(row: TaskRow, change: StatusChange, now: datetime) -> Explanation:
    run_after: Any = row.run_after
    sentence = _NOT_DUE_AFTER.get(change.kind, _NOT_DUE)
    if change.kind == EventKind.SNOOZE and not change.reason:
        sentence = _SNOOZED
    values = {
        "time": run_after,
        "duration": run_after - now,
        "error": change.error or "?",
        "details": change.reason or "?",
    }
    return Explanation(Cause.NOT_DUE, sentence, values, expiry_of(row))


def _explain_queue(known: Surroundings, model: type[TaskRow]) -> Explanation | None:
    """Of a task that is due: why no task of ``model`` starts now; None if others do."""
    label = model._meta.label
    if (pause := known.pauses.get(label)) is not None:
        return explain_pause(pause)
    if known.is_polled:
        sentence = gettext_noop(
            "It is due: a worker that polls the table starts it when a thread is free."
        )
        return Explanation(Cause.QUEUED, sentence)
    if known.redis_error is not None:
        return _explain_redis(known.redis_error)
    if not known.has_workers:
        sentence = gettext_noop(
            "No worker reports. Start one: python manage.py django-simpletask3-server"
        )
        return Explanation(Cause.NO_WORKER, sentence)
    if label not in known.served:
        sentence = gettext_noop("No worker that reports runs %(model)s.")
        return Explanation(Cause.NO_WORKER, sentence, {"model": label})
    return None


def _explain_redis(error: Exception) -> Explanation:
    sentence = (
        gettext_noop("Redis refuses a command.")
        if isinstance(error, QueueRefused)
        else gettext_noop("Redis does not answer: the task starts when it does.")
    )
    return Explanation(Cause.REDIS_UNAVAILABLE, sentence)


def _explain_message(row: TaskRow, model: type[TaskRow], now: datetime) -> Explanation:
    """Of a task that is due, and whose queue is served: where its message is."""
    pk_name = str(model._meta.pk.attname)
    try:
        place = find_message(model.from_db(row._state.db, [pk_name], [row.pk]))
    except (QueueUnavailable, InvalidSetting) as error:
        return _explain_redis(error)
    if place is Whereabouts.FAR:
        sentence = gettext_noop("It waits behind more than %(count)d other tasks of its queue.")
        return Explanation(Cause.QUEUED, sentence, {"count": MAX_PLACE})
    if place is Whereabouts.CLAIMED:
        sentence = gettext_noop("A worker has claimed its message and is about to start it.")
        return Explanation(Cause.CLAIMED, sentence)
    if place is Whereabouts.MISSING:
        sentence = gettext_noop(
            "Its message is missing in Redis: recovery looks for it at %(time)s."
        )
        checked = None if row.check_at is None else max(row.check_at, now)
        return Explanation(Cause.MESSAGE_MISSING, sentence, {"time": checked})
    if place == 0:
        sentence = gettext_noop("It is the next task of its queue, and waits for a free thread.")
        return Explanation(Cause.QUEUED, sentence)
    return Explanation(Cause.QUEUED, _BEHIND, {"count": place})


def expiry_of(row: TaskRow) -> datetime | None:
    """When a task that has not started is canceled; None if that never happens."""
    if not has_expiry(type(row)):
        return None
    expires_at: datetime | None = vars(row)["expires_at"]
    return expires_at

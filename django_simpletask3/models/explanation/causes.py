"""Find the cause why a task does not run now, by its row and its stream."""

from __future__ import annotations

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_noop, ngettext_lazy

from ...db import clock
from ...dependencies.overview import WaitsFor, read_waits_for
from ...dependencies.serving import PREREQUISITE_FAILED
from ...ledger.task_row import TaskRow, all_rows, table_model, task_name, write_database
from ...limits.line import MAX_COUNT, PlaceInLine, place_in_line
from ...states import LIMIT_REASON, EventKind, Status
from .pending import expiry_of, explain_pending
from .sentences import Cause, Explanation, with_details
from .status_change import (
    StatusChange,
    enqueue_events,
    models_of,
    newest,
    saved_model,
    status_changes,
)

_BEHIND = ngettext_lazy(
    "It waits for a place of the limit %(limit)s, behind %(count)d other task. Places taken: "
    "%(taken)d of %(running)s.",
    "It waits for a place of the limit %(limit)s, behind %(count)d other tasks. Places taken: "
    "%(taken)d of %(running)s.",
    "count",
)
_BEHIND_BY_RATE = ngettext_lazy(
    "It waits for the rate of the limit %(limit)s, behind %(count)d other task; the next one may "
    "start at %(time)s.",
    "It waits for the rate of the limit %(limit)s, behind %(count)d other tasks; the next one may "
    "start at %(time)s.",
    "count",
)
_NO_CHANGE = StatusChange("", None)


def explain(task: TaskRow) -> Explanation:
    """Why ``task`` does not run now, by its row and events as the database has them.

    At most four queries, or a few more if tasks that it waits for have failed, and five commands to
    Redis.
    """
    if task._state.adding:
        return Explanation(Cause.NOT_SAVED, gettext_noop("It is not saved yet."))
    rows = all_rows(table_model(type(task)), write_database(task))
    row = rows.filter(pk=task.pk).defer("result_data", "error_data").first()
    if row is None:
        return Explanation(Cause.DELETED, gettext_noop("It was deleted."))
    return explain_row(row)


def explain_row(row: TaskRow) -> Explanation:
    """Why a task does not run now whose row was just read; at most three queries."""
    if row.status == Status.RUNNING:
        return _explain_running(row)
    using, root = write_database(row), table_model(type(row))
    change = newest(status_changes(root, using, row.pk)[:1]) or _NO_CHANGE
    if row.status != Status.PENDING:
        return _explain_other(row, change)
    if len(models_of(root)) == 1:
        return explain_pending(row, change, root)
    enqueue_event = newest(enqueue_events(root, using, row.pk)[:1])
    return explain_pending(row, change, saved_model(root, enqueue_event))


def _explain_running(row: TaskRow) -> Explanation:
    values = {"worker": row.worker, "start": row.start_time, "until": row.check_at}
    if row.check_at is not None and row.check_at <= clock.now(write_database(row)):
        sentence = gettext_noop(
            "Its lease ended at %(until)s: recovery takes it from the worker %(worker)s, which "
            "started it at %(start)s."
        )
        return Explanation(Cause.LEASE_ENDED, sentence, values)
    sentence = gettext_noop(
        "It runs in the worker %(worker)s since %(start)s; the lease ends at %(until)s unless it "
        "is renewed."
    )
    return Explanation(Cause.RUNNING, sentence, values)


def _explain_other(row: TaskRow, change: StatusChange) -> Explanation:
    """Of a task that neither waits for a worker nor runs."""
    if row.status == Status.SUCCESS:
        sentence = gettext_noop("It succeeded at %(time)s.")
        return Explanation(Cause.SUCCEEDED, sentence, {"time": row.done_time})
    if row.status == Status.FAILED:
        return _explain_failed(row, change)
    if row.status == Status.CANCELED:
        return _explain_canceled(row, change)
    if row.status == Status.BLOCKED:
        return _explain_blocked(row, change)
    sentence = gettext_noop("Its status is %(status)s, which this version does not know.")
    return Explanation(Cause.UNKNOWN_STATUS, sentence, {"status": int(row.status)})


def _explain_failed(row: TaskRow, change: StatusChange) -> Explanation:
    values = {"time": row.done_time, "error": change.error}
    if not change.error:
        return Explanation(Cause.FAILED, gettext_noop("It failed at %(time)s."), values)
    if change.kind == EventKind.DROP:
        sentence = gettext_noop("It was given up at %(time)s: %(error)s")
        return Explanation(Cause.FAILED, sentence, values)
    return Explanation(Cause.FAILED, gettext_noop("It failed at %(time)s: %(error)s"), values)


def _explain_canceled(row: TaskRow, change: StatusChange) -> Explanation:
    if change.kind == EventKind.EXPIRE:
        sentence = gettext_noop("It expired while it waited, and was canceled at %(time)s.")
        return Explanation(Cause.CANCELED, sentence, {"time": row.done_time})
    if change.reason == PREREQUISITE_FAILED and (waits_for := read_waits_for(row)) is not None:
        return _explain_failed_prerequisite(row, waits_for.first_failed())
    return with_details(
        Cause.CANCELED,
        gettext_noop("It was canceled at %(time)s."),
        gettext_noop("It was canceled at %(time)s (%(details)s)."),
        {"time": row.done_time, "details": change.details},
    )


def _explain_failed_prerequisite(row: TaskRow, failed: TaskRow | None) -> Explanation:
    """Of a task that was canceled because ``failed``, and perhaps others, had failed."""
    if failed is None:  # it was deleted, or reset without its dependents
        sentence = gettext_noop(
            "It was canceled at %(time)s, because a task failed for which it waited."
        )
        return Explanation(Cause.CANCELED, sentence, {"time": row.done_time})
    values = {
        "time": row.done_time,
        "task": task_name(failed),
        "error": StatusChange("", None, data={"error": failed.error_data}).error,
    }
    if failed.status == Status.CANCELED:
        sentence = gettext_noop(
            "It was canceled at %(time)s, because %(task)s was canceled, for which it waited."
        )
    elif values["error"]:
        sentence = gettext_noop(
            "It was canceled at %(time)s, because %(task)s failed, for which it waited: %(error)s"
        )
    else:
        sentence = gettext_noop(
            "It was canceled at %(time)s, because %(task)s failed, for which it waited."
        )
    return Explanation(Cause.CANCELED, sentence, values)


def _explain_blocked(row: TaskRow, change: StatusChange) -> Explanation:
    if change.reason == LIMIT_REASON and (place := place_in_line(row)) is not None:
        return _explain_limit(row, place)
    if isinstance(change.data, dict) and "group" in change.data:
        waits_for = read_waits_for(row)
        if waits_for is not None and waits_for.is_waiting:
            return _explain_waits_for(row, change, waits_for)
    return with_details(
        Cause.BLOCKED,
        gettext_noop("It is blocked since %(time)s, until it is unblocked."),
        gettext_noop("It is blocked since %(time)s (%(details)s), until it is unblocked."),
        {"time": change.time, "details": change.details},
        expiry_of(row),
    )


def _explain_limit(row: TaskRow, place: PlaceInLine) -> Explanation:
    sentence: str | Promise = _BEHIND if place.next_start_at is None else _BEHIND_BY_RATE
    if place.next_start_at is not None and place.before == 0:
        sentence = gettext_noop(
            "It is the next one that the rate of the limit %(limit)s lets start, at %(time)s."
        )
    elif place.before == 0:
        sentence = gettext_noop(
            "It is the next one to get a place of the limit %(limit)s. Places taken: %(taken)d "
            "of %(running)s."
        )
    elif place.before >= MAX_COUNT and place.next_start_at is None:
        sentence = gettext_noop(
            "It waits for a place of the limit %(limit)s, behind at least %(count)d other tasks. "
            "Places taken: %(taken)d of %(running)s."
        )
    values: dict[str, Any] = {
        "limit": place.limit,
        "count": place.before,
        "taken": place.taken,
        "running": "-" if place.running is None else place.running,
        "time": place.next_start_at,
    }
    return Explanation(Cause.LIMIT_REACHED, sentence, values, expiry_of(row))


def _explain_waits_for(row: TaskRow, change: StatusChange, waits_for: WaitsFor) -> Explanation:
    """Of a task that waits for other tasks."""
    sentence = (
        gettext_noop(
            "It waits for %(missing)s of %(total)s tasks since %(time)s; %(failed)s failed."
        )
        if waits_for.failed
        else gettext_noop("It waits for %(missing)s of %(total)s tasks since %(time)s.")
    )
    counts = {name: getattr(waits_for, name) for name in ("missing", "total", "failed")}
    values = {**counts, "time": change.time}
    return Explanation(Cause.WAITS_FOR_TASKS, sentence, values, expiry_of(row))

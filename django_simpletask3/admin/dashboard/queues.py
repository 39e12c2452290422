"""The queues: what waits and runs, how it went in the last hour, and what may be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ...ledger.task_row import table_model
from ...models.task import SimpleTask
from ...monitoring import health, problems
from ...monitoring.health_types import ModelHealth, Pause, TableHealth
from ...monitoring.statistics import Period, TimeBucket, percentile
from ..changelist import TaskChangeList
from ..html.pills import State
from ..html.times import format_moment
from ..html.values import escape_invisible, format_count
from ..html.words import quoted
from ..task_list import filters
from ..viewer import page_model
from .board import Board
from .charts import format_seconds, format_share, sparkline

_STANDING_STILL = (problems.ProblemKind.UNSERVED_QUEUE, problems.ProblemKind.STUCK_QUEUE)


class QueueState(IntEnum):
    """The states of a queue, in the order of the rows."""

    STUCK = 0
    PAUSED = 1
    NO_NODE = 2
    TAKES_TASKS = 3


def queue_rows(board: Board) -> list[dict[str, Any]]:
    """A row of each task model that the user may view, those in trouble first."""
    standing_still = {
        str(problem.values["model"])
        for problem in problems.find_problems(board.health)
        if problem.kind in _STANDING_STILL
    }
    rows = [_row(board, model, standing_still) for model in board.models]
    return sorted(rows, key=lambda row: (row["state"], row["name"]))


def queue_name(model: type[SimpleTask]) -> str:
    """The plural of the model's name, as the admin writes it."""
    return str(capfirst(model._meta.verbose_name_plural))


def queue_names(board: Board) -> dict[str, str]:
    """The names of the queues by label."""
    return {model._meta.label: queue_name(model) for model in board.models}


def tasks_url(board: Board, model: type[SimpleTask], state: State, time: str = "") -> str:
    """The address of the list of the tasks in ``state``; empty if the user has none.

    ``time`` is one of the list's filters of times. A list without these filters is shown whole.
    """
    viewer = board.viewer
    url = viewer.list_url(model)
    if not url:
        return ""
    model_admin = viewer.site.get_model_admin(page_model(model))
    if not issubclass(model_admin.get_changelist(viewer.request), TaskChangeList):
        return url
    query = {filters.STATE: str(state), **({filters.TIME: time} if time else {})}
    return f"{url}?{urlencode(query)}"


def stat_urls(board: Board) -> list[str]:
    """Where the tasks are listed that the first five numbers of the stat line count, or empty.

    The tasks of one model are in its list; of several, the rows of the queues have their numbers.
    """
    failing = {m._meta.label for m in board.models if _has_failed(board, m)}
    return [
        _stat_url(board, State.WAITING, {t.model for t in board.tables if t.due}),
        _stat_url(board, State.SCHEDULED, {t.model for t in board.tables if t.pending > t.due}),
        _stat_url(board, State.RUNNING, {t.model for t in board.tables if t.running}),
        "",
        _stat_url(board, State.FAILED, failing, "done-hour"),
    ]


def _stat_url(board: Board, state: State, labels: set[str], time: str = "") -> str:
    found = [model for model in board.models if model._meta.label in labels]
    if len(labels) == 1 and found:
        return tasks_url(board, found[0], state, time)
    return "#st3-queues" if labels and state is not State.SCHEDULED else ""


def _has_failed(board: Board, model: type[SimpleTask]) -> bool:
    return any(bucket.failed for bucket in board.statistics.table(Period.HOUR, model))


def summarize_hour(buckets: list[TimeBucket]) -> dict[str, Any]:
    """Numbers of an hour as texts; empty where there is nothing to measure."""
    done = sum(bucket.done for bucket in buckets)
    failed = sum(bucket.failed for bucket in buckets)
    waits = sorted(wait for bucket in buckets for wait in bucket.waits)
    runs = sorted(run for bucket in buckets for run in bucket.runs)
    return {
        "done": format_count(done),
        "failed": format_count(failed),
        "failed_share": format_share(failed / done) if done else "",
        "per_minute": number_format(round(done / 60, 1 if done < 600 else 0)) if done else "",
        "wait_p50": format_seconds(percentile(waits, 0.5)),
        "wait_p95": format_seconds(percentile(waits, 0.95)),
        "run_p50": format_seconds(percentile(runs, 0.5)),
        "run_p95": format_seconds(percentile(runs, 0.95)),
    }


def count_due(tables: list[TableHealth]) -> str:
    """How many tasks wait that are due; "1,000+" if only the first rows were read."""
    return _format_at_least(sum(table.due for table in tables), tables)


def count_scheduled(tables: list[TableHealth]) -> str:
    """How many tasks wait for a time to come."""
    return _format_at_least(sum(table.pending - table.due for table in tables), tables)


def count_running(tables: list[TableHealth]) -> str:
    """How many tasks run."""
    return _format_at_least(sum(table.running for table in tables), tables)


def count_blocked(tables: list[TableHealth]) -> str:
    """How many tasks are blocked; empty if none is."""
    blocked = sum(table.blocked for table in tables)
    is_capped = any(table.blocked >= health.MAX_ROWS for table in tables)
    return f"{format_count(blocked)}{'+' if is_capped else ''}" if blocked else ""


def oldest_wait(tables: list[TableHealth]) -> float | None:
    """For how many seconds the oldest due task has waited."""
    waits = [table.longest_wait for table in tables if table.longest_wait is not None]
    return max(waits, default=None)


def _row(board: Board, model: type[SimpleTask], standing_still: set[str]) -> dict[str, Any]:
    label, queue = model._meta.label, board.queue_of(model)
    return {
        "model": label,
        "name": queue_name(model),
        "url": board.viewer.list_url(model),
        "dead_letters": (queue and queue.dead_letters) or 0,
        **_state(board, model, queue, label in standing_still),
        **_numbers(board, model),
    }


def _numbers(board: Board, model: type[SimpleTask]) -> Mapping[str, Any]:
    """What is known of its table; a proxy or a child is counted with its root."""
    root = table_model(model)
    if root is not model:
        return {"root": queue_name(root)}
    tables, oldest = board.tables_of(model), oldest_wait(board.tables_of(model))
    buckets = board.statistics.table(Period.HOUR, model)
    is_complete = all(table.is_complete for table in tables)
    is_late = problems.is_overdue(oldest)
    text = format_seconds(oldest)
    return {
        "waiting": count_due(tables),
        "oldest": text if is_complete or not text else _("at least %(wait)s") % {"wait": text},
        "is_late": is_late,
        "running": count_running(tables),
        "waiting_url": tasks_url(board, model, State.WAITING),
        "running_url": tasks_url(board, model, State.RUNNING),
        "failed_url": tasks_url(board, model, State.FAILED, "done-hour"),
        "blocked": count_blocked(tables),
        "spark": sparkline(buckets, queue_name(model)),
        **summarize_hour(buckets),
    }


def _state(
    board: Board, model: type[SimpleTask], queue: ModelHealth | None, is_stuck: bool
) -> dict[str, Any]:
    label, pause = model._meta.label, queue.paused if queue else None
    if pause is not None:
        return {"state": QueueState.PAUSED, **_pause_words(pause, board.now)}
    wait = oldest_wait(board.tables_of(table_model(model)))
    if is_stuck:
        words = _("stuck, %(wait)s") % {"wait": format_seconds(wait)} if wait else _("stuck")
        return {"state": QueueState.STUCK, "state_words": words}
    if board.has_nodes and label not in problems.served_labels(board.health):
        return {"state": QueueState.NO_NODE, "state_words": _("no node")}
    return {"state": QueueState.TAKES_TASKS, "state_words": _("takes tasks")}


def _pause_words(pause: Pause, now: datetime) -> dict[str, str]:
    actor = escape_invisible(pause.actor)
    words = _("paused by %(actor)s") % {"actor": actor} if actor else _("paused")
    moment = datetime.fromisoformat(pause.time)
    if timezone.is_aware(moment) == timezone.is_aware(now):
        time = format_moment(moment, now, seconds=False)
        words_at = _("%(paused)s at %(time)s") % {"paused": words, "time": time}
    else:
        words_at = words
    title = f"{words_at}: {quoted(pause.reason)}" if pause.reason else words_at
    return {
        "state_words": words,
        "state_title": title,
        "pause_reason": escape_invisible(pause.reason),
    }


def _format_at_least(count: int, tables: list[TableHealth]) -> str:
    is_complete = all(table.is_complete for table in tables)
    return f"{format_count(count)}{'' if is_complete else '+'}"

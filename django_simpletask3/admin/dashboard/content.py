"""The context of the dashboard's template: every section, from what was read once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils.translation import gettext_lazy as _

from ...monitoring.health_types import ModelHealth
from ...monitoring.statistics import Period
from ..html.times import format_moment
from ..html.values import format_count
from ..task_details.named_tasks import present_states
from ..viewer import Viewer
from . import attention, charts, dead_letters, nodes, queues, sections
from .board import Board, read_board
from .charts import format_seconds
from .commands import Offer, offer, offer_stop
from .queues import QueueState

_PERIODS = {
    Period.HOUR: (_("Last hour"), _("Hour")),
    Period.DAY: (_("Last day"), _("Day")),
    Period.WEEK: (_("Last week"), _("Week")),
    Period.MONTH: (_("Last month"), _("Month")),
}


def read_content(
    viewer: Viewer, period: Period, *, may_change: bool, page_charts: str = ""
) -> dict[str, Any]:
    """The context of the template; without the charts if ``page_charts`` is their version."""
    board = read_board(viewer, period, may_change=may_change, page_charts=page_charts)
    queue_rows = queues.queue_rows(board)
    letters = dead_letters.read_letters(board)
    schedules, schedule_count = sections.read_schedules(board)
    keys = [*board.lost_keys().values()]
    keys += [k for model, letter in letters if (k := dead_letters.letter_key(model, letter))]
    ticks = [key for schedule in schedules if (key := sections.tick_key(schedule.last))]
    present = present_states(board.scope, keys, ticks)
    states = {key: task.state for key, task in present.items()}
    return {
        "attention": attention.read_attention(board, states),
        "may_change": may_change,
        "has_nodes": board.has_nodes,
        "is_redis_used": board.health.redis.is_used,
        "is_live": _is_live(board),
        "time": format_moment(board.now, board.now),
        "stats": _stats(board),
        "queues": _with_offers(board, queue_rows),
        "has_trouble": any(row["state"] < QueueState.NO_NODE for row in queue_rows),
        "blocked_note": _blocked_note(board),
        "nodes": _with_stop(board, nodes.node_rows(board)),
        "nodes_note": nodes.nodes_note(board),
        "letters": _with_letter_offers(board, dead_letters.letter_rows(board, letters, states)),
        "letters_offers": _letters_offers(board),
        "letters_count": sum(queue.dead_letters or 0 for queue in _visible_queues(board)),
        "period": str(period),
        "period_title": _PERIODS[period][0],
        "periods": [(str(value), labels[1]) for value, labels in _PERIODS.items()],
        "charts": _charts(board),
        "charts_version": board.charts_version,
        "keeps_charts": board.keeps_charts,
        "schedules": sections.schedule_rows(board, schedules, states),
        "schedule_count": schedule_count,
        "schedules_url": sections.schedule_url(board),
        "add_schedule_url": sections.add_schedule_url(board),
        "recovery_counts": sections.recovery_rows(board),
        "blocked": sections.blocked_rows(board),
        "subscriptions": sections.subscription_rows(board),
        "deliveries_url": sections.deliveries_url(board),
    }


def _charts(board: Board) -> list[charts.Chart]:
    if board.keeps_charts:
        return []
    return charts.build_charts(board.statistics.total(board.period), board.period)


def _is_live(board: Board) -> bool:
    """Whether the page may change by itself: tasks wait or run, or nodes report."""
    is_used = any(table.pending or table.running for table in board.health.tables)
    return is_used or bool(board.health.workers)


def _stats(board: Board) -> list[dict[str, str]]:
    """Label, value and note of each number of the stat line, and the address of what it counts."""
    tables, hour = board.tables, queues.summarize_hour(board.statistics.total(Period.HOUR))
    workers = nodes.living_workers(board)
    threads = sum(load.threads for worker in workers for load in worker.models.values())
    oldest = format_seconds(queues.oldest_wait(tables))
    rows = [
        (_("Waiting"), queues.count_due(tables), _("oldest %(value)s"), oldest),
        (_("Scheduled"), queues.count_scheduled(tables), _("next at %(value)s"), _next(board)),
        (_("Running"), queues.count_running(tables), _("of %(value)s threads"), _count(threads)),
        (_("Done, last hour"), hour["done"], _("%(value)s per minute"), hour["per_minute"]),
        (_("Failed, last hour"), hour["failed"], "%(value)s", hour["failed_share"]),
        (_("Waited, p95"), hour["wait_p95"] or "–", _("p50 is %(value)s"), hour["wait_p50"]),
        (_("Ran, p95"), hour["run_p95"] or "–", _("p50 is %(value)s"), hour["run_p50"]),
    ]
    urls = [*queues.stat_urls(board), *[""] * 2]  # times are of no list
    return [
        {
            "label": str(label),
            "value": value,
            "note": str(note) % {"value": known} if known else "",
            "url": url,
        }
        for (label, value, note, known), url in zip(rows, urls, strict=True)
    ]


def _next(board: Board) -> str:
    """When the next task is due that waits for its time."""
    found = [table.next_due for table in board.tables if table.next_due is not None]
    if not found:
        return ""
    moment = board.now + timedelta(seconds=min(found))
    return format_moment(moment, board.now, seconds=False)


def _count(number: int) -> str:
    return format_count(number) if number else ""


def _blocked_note(board: Board) -> str:
    """How many tasks are blocked; empty if none is."""
    blocked = queues.count_blocked(board.tables)
    return _("%(number)s tasks are blocked") % {"number": blocked} if blocked else ""


def _visible_queues(board: Board) -> list[ModelHealth]:
    return [queue for model in board.models if (queue := board.queue_of(model))]


def _with_offers(board: Board, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    models = {model._meta.label: model for model in board.models}
    for row in rows:
        action = "resume" if row["state"] is QueueState.PAUSED else "pause"
        row["offer"] = offer(action, models[row["model"]]) if board.may_change else None
        row["css"], row["icon"] = _QUEUE_LOOKS[row["state"]]
    return rows


def _with_stop(board: Board, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        may_stop = board.may_change and row.get("target") and row["state"] != "stops"
        row["offer"] = offer_stop(row["target"]) if may_stop else None
        row["css"], row["icon"], row["words"] = _NODE_LOOKS[row["state"]]
    return rows


def _with_letter_offers(board: Board, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    models = {model._meta.label: model for model in board.models}
    for row in rows:
        # What a form cannot send cannot be chosen.
        may_replay = board.may_change and row["may_be_put_back"] and row["id"] == row["name"]
        words = {"letter": row["id"], "subject": row["name"]}
        row["offer"] = offer("replay", models[row["model"]], **words) if may_replay else None
    return rows


def _letters_offers(board: Board) -> list[Offer]:
    """A button for all letters of each queue that has more than one."""
    if not board.may_change:
        return []
    return [
        offer("replay", model, number=number)
        for model in board.models
        if (queue := board.queue_of(model)) and (number := queue.dead_letters or 0) > 1
    ]


#: The class of the colour and the icon of each state of a queue.
_QUEUE_LOOKS = {
    QueueState.STUCK: ("st3-failed", "warn"),
    QueueState.PAUSED: ("st3-lost", "hold"),
    QueueState.NO_NODE: ("st3-quiet", ""),
    QueueState.TAKES_TASKS: ("st3-succeeded", "succeeded"),
}
#: The class, the icon and the word of each state of a node.
_NODE_LOOKS = {
    "reports": ("st3-succeeded", "succeeded", _("reports")),
    "stops": ("st3-lost", "hold", _("stops")),
    "lost": ("st3-failed", "failed", _("lost")),
    "runs": ("st3-running", "running", _("runs tasks")),
    "unknown": ("st3-quiet", "", _("not known")),
}

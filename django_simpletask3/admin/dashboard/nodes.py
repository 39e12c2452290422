"""The nodes that report, with what they run, and after them those that are lost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...conf.options import options
from ...models.explanation.durations import format_duration
from ...monitoring.health_types import WorkerHealth
from ...worker.watch.worker_name import is_known_dead
from ..html.times import format_moment, rough_duration
from ..html.values import escape_invisible
from ..html.words import worker_label, worker_node
from ..task_details.named_tasks import RunningTask, TaskKey, task_link
from .board import Board

#: Tasks that the row of a node names, and lost nodes that are listed.
MAX_TASKS, MAX_LOST = 2, 5
#: A worker reports at least that often, or four times before Redis forgets it.
_REPORT_SECONDS = 30.0
#: Reports that a worker may miss before it counts as lost.
_MISSED_REPORTS = 2.5


@dataclass(slots=True)
class LostNode:
    """A node that no longer reports, or a process of one; ``keys`` are tasks that it lost.

    ``seconds`` is the time since its last report or, if that is not known, since it lost a task.
    """

    name: str
    workers: set[str] = field(default_factory=set)
    keys: set[TaskKey] = field(default_factory=set)
    running: list[RunningTask] = field(default_factory=list)
    seconds: float | None = None

    def note(self, worker: str, seconds: float | None) -> None:
        """Add a worker of which nothing was seen for so long."""
        self.workers.add(worker)
        known = [s for s in (self.seconds, seconds) if s is not None]
        self.seconds = min(known, default=None)


def living_workers(board: Board) -> list[WorkerHealth]:
    """The workers that report, and have lost no task since their last report."""
    losses: dict[str, float] = {}
    for loss in board.losses:
        elapsed = (board.now - loss.time).total_seconds()
        losses[loss.worker] = min(elapsed, losses.get(loss.worker, elapsed))
    return [
        worker
        for worker in board.health.workers
        if not _is_lost(worker)
        and losses.get(worker.worker, math.inf) > worker.seconds_since_report
    ]


def _is_lost(worker: WorkerHealth) -> bool:
    """Whether its report is the last one: Redis keeps it for minutes."""
    interval = min(_REPORT_SECONDS, options.simq_worker_status_expire / 4)
    is_late = worker.seconds_since_report > _MISSED_REPORTS * interval
    return is_late or is_known_dead(worker.worker)


def lost_nodes(board: Board) -> list[LostNode]:
    """The nodes that are lost, the last one first; none if it is not known which ones report."""
    if not board.has_nodes:
        return []
    losses = _Losses({worker.worker for worker in living_workers(board)})
    for worker in board.health.workers:
        losses.add(worker.worker, worker.seconds_since_report)
    for name, tasks in board.running.items():
        if node := losses.add_process(name):
            node.running += tasks
    for loss, key in board.lost_keys().items():
        elapsed = (board.now - loss.time).total_seconds()
        if node := losses.add(loss.worker, elapsed):
            node.keys.add(key)
    return sorted(losses.nodes.values(), key=lambda node: (node.seconds or 0.0, node.name))


class _Losses:
    """The lost nodes by name, without those of which a worker still reports."""

    def __init__(self, living: set[str]) -> None:
        self.nodes: dict[str, LostNode] = {}
        self._living = living
        self._living_nodes = {worker_node(name) for name in living}

    def add(self, worker: str, seconds: float | None) -> LostNode | None:
        """The node of ``worker``, of which nothing was seen for so long; None if it lives."""
        return (
            None if self._is_replaced(worker) else self._node(worker_node(worker), worker, seconds)
        )

    def add_process(self, worker: str) -> LostNode | None:
        """As ``add``, or the process alone if its node goes on; None if ``worker`` lives."""
        if worker in self._living:
            return None
        is_alone = self._is_replaced(worker)
        return self._node(worker_label(worker) if is_alone else worker_node(worker), worker, None)

    def _is_replaced(self, worker: str) -> bool:
        return worker_node(worker) in self._living_nodes

    def _node(self, name: str, worker: str, seconds: float | None) -> LostNode:
        node = self.nodes.setdefault(name, LostNode(name))
        node.note(worker, seconds)
        return node


def node_rows(board: Board) -> list[dict[str, Any]]:
    """The rows of the table: nodes that report by name, then those that are lost."""
    if not board.has_nodes:
        return [*_rows_without_reports(board)]
    nodes: dict[tuple[str, int | None], list[WorkerHealth]] = {}
    for worker in living_workers(board):
        name = worker.node or worker_node(worker.worker)
        nodes.setdefault((name, worker.supervisor), []).append(worker)
    rows = [_living_row(board, name, workers, nodes) for (name, _), workers in nodes.items()]
    rows.sort(key=lambda row: str(row["name"]))
    return rows + [_lost_row(board, node) for node in lost_nodes(board)[:MAX_LOST]]


def nodes_note(board: Board) -> str:
    """How many nodes report, and how many are lost."""
    if not board.has_nodes:
        return ""
    living = len({(w.node, w.supervisor) for w in living_workers(board)})
    reports = ngettext("%d reports", "%d report", living) % living
    lost = lost_nodes(board)
    if not lost and not living:
        return ""
    if not lost:
        return _("%(reports)s, none is lost") % {"reports": reports}
    are_lost = ngettext("%d is lost", "%d are lost", len(lost)) % len(lost)
    if lost[0].seconds is None:
        return f"{reports}, {are_lost}"
    words = {"reports": reports, "lost": are_lost, "time": _last_time(board, lost[0])}
    return _("%(reports)s, %(lost)s since %(time)s") % words


def recoveries_query(board: Board, worker: str) -> str:
    """The query that lists what this worker or node lost within the last 24 hours."""
    return urlencode({"worker": worker, "after": board.since.isoformat()})


def _living_row(
    board: Board, name: str, workers: list[WorkerHealth], nodes: Iterable[tuple[str, Any]]
) -> dict[str, Any]:
    is_one_of_several = sum(other == name for other, _ in nodes) > 1
    supervisor = workers[0].supervisor
    threads = sum(load.threads for worker in workers for load in worker.models.values())
    held = sum(load.in_flight for worker in workers for load in worker.models.values())
    tasks = [task for worker in workers for task in board.running.get(worker.worker, ())]
    label = f"{name} › {supervisor}" if is_one_of_several and supervisor else name
    return {
        **_row(board, label, sorted(worker.worker for worker in workers), tasks),
        "state": "stops" if any(worker.stop_requested for worker in workers) else "reports",
        "busy": min(held, threads),
        "threads": threads,
        "report": _ago(min(worker.seconds_since_report for worker in workers)),
        "target": workers[0].worker,
    }


def _lost_row(board: Board, node: LostNode) -> dict[str, Any]:
    return {
        **_row(board, node.name, sorted(node.workers), node.running),
        "state": "lost",
        "report": _last_time(board, node),
        "taken_back": len(node.keys),
        "query": recoveries_query(board, node.name) if node.keys else "",
    }


def _last_time(board: Board, node: LostNode) -> str:
    """When ``node`` was last seen, to the minute; empty if that is not known."""
    if node.seconds is None:
        return ""
    return format_moment(board.now - timedelta(seconds=node.seconds), board.now, seconds=False)


def _rows_without_reports(board: Board) -> Iterator[dict[str, Any]]:
    """Without Redis, the workers that run tasks; nothing else is known of them."""
    workers: dict[str, list[str]] = {}
    for name in sorted(board.running):
        workers.setdefault(worker_node(name), []).append(name)
    for node, names in workers.items():
        tasks = [task for name in names for task in board.running[name]]
        is_polling = not board.health.redis.is_used
        state, target = ("runs", names[0]) if is_polling else ("unknown", "")
        yield {**_row(board, node, names, tasks), "state": state, "target": target}


def _row(board: Board, name: str, workers: list[str], tasks: list[RunningTask]) -> dict[str, Any]:
    shown = tasks[:MAX_TASKS]
    return {
        "name": escape_invisible(name),
        "title": escape_invisible(", ".join(workers)),
        "tasks": [_running(board, task) for task in shown],
        "more": len(tasks) - len(shown),
    }


def _running(board: Board, task: RunningTask) -> tuple[SafeString | str, str]:
    if task.since is None:
        return task_link(board.viewer, task.key), ""
    elapsed = format_duration(max(board.now - task.since, timedelta(0)))
    return task_link(board.viewer, task.key), _("runs for %(duration)s") % {"duration": elapsed}


def _ago(seconds: float) -> str:
    if seconds < 1:
        return _("just now")
    return _("%(duration)s ago") % {"duration": rough_duration(timedelta(seconds=seconds))}

"""Messages that could not be delivered: each with its task, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import router

from ...conf.time_source import stored
from ...exceptions import QueueUnavailable
from ...ledger.task_row import table_model
from ...models.task import SimpleTask
from ...queue import get_queue
from ..html import pills, times
from ..html.reasons import message_words
from ..html.values import escape_invisible
from ..task_details.named_tasks import TaskKey, task_link
from .board import Board
from .queues import queue_name

#: Letters that are shown of each queue.
MAX_SHOWN = 10


def read_letters(board: Board) -> list[tuple[type[SimpleTask], dict[str, Any]]]:
    """The newest letters of each queue, for users who may view every row of its table.

    Most of them name no task, so that nothing else says who may read them.
    """
    letters: list[tuple[type[SimpleTask], dict[str, Any]]] = []
    for model in board.models:
        queue = board.queue_of(model)
        if queue and queue.dead_letters and board.viewer.may_view_every_row(model):
            letters += [(model, letter) for letter in _letters_of(model)]
    return letters


def letter_key(model: type[SimpleTask], letter: dict[str, Any]) -> TaskKey | None:
    """The task that a letter means, if it names one."""
    data = letter.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("id"), str | int):
        return None
    using = data.get("using") or router.db_for_write(model)
    return TaskKey(table_model(model), using, str(data["id"])) if isinstance(using, str) else None


def letter_rows(
    board: Board,
    letters: list[tuple[type[SimpleTask], dict[str, Any]]],
    states: dict[TaskKey, pills.State],
) -> list[dict[str, Any]]:
    """The rows of the table, the oldest first."""
    rows = [_row(board, model, letter, states) for model, letter in letters]
    return sorted(rows, key=lambda row: row["order"])


def _letters_of(model: type[SimpleTask]) -> list[dict[str, Any]]:
    try:
        return get_queue().dead_letters(model.get_event_channel(), limit=MAX_SHOWN)
    except QueueUnavailable:
        return []


def _row(
    board: Board,
    model: type[SimpleTask],
    letter: dict[str, Any],
    states: dict[TaskKey, pills.State],
) -> dict[str, Any]:
    key = letter_key(model, letter)
    state = states.get(key) if key else None
    moment = _moment(letter["time"])
    return {
        "order": letter["time"] or 0.0,
        "time": "" if moment is None else times.moment(moment, board.now, seconds=False),
        "queue": queue_name(model),
        "model": model._meta.label,
        "id": letter["id"],
        "name": escape_invisible(letter["id"]),
        "task": task_link(board.viewer, key) if key and state else "",
        "pill": pills.pill(state) if state else "",
        "reason": message_words(letter["reason"]),
        "may_be_put_back": "raw" not in letter,
    }


def _moment(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    return stored(datetime.fromtimestamp(seconds, UTC))

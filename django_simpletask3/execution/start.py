"""Start the tasks that messages name."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import cast

from ..db import clock
from ..db.errors import may_be_transient
from ..ledger.task_row import home_of, root_of
from ..models.loading import as_saved, blank_of
from ..models.queryset import rows_of
from ..models.registry import databases_of
from ..models.task import SimpleTask
from ..queue import Message
from ..states import EventKind
from ..transitions.best_effort import apply_each
from ..transitions.transition import Transition, known_row
from ..transitions.writer import record_debut
from . import resolve
from .run import Run
from .settle import settle

_logger = logging.getLogger(__name__)


def start(
    model: type[SimpleTask], messages: Sequence[Message], *, worker: str, lease: float
) -> list[Run]:
    """Claim the tasks of ``messages`` in the database, together; the runs to perform.

    A message that asks for nothing (deleted, finished or foreign tasks) is settled here. Database
    errors that pass are raised; the same call finds what was claimed before them.
    """
    return start_or_postpone(model, messages, worker=worker, lease=lease)[0]


def start_or_postpone(
    model: type[SimpleTask], messages: Sequence[Message], *, worker: str, lease: float
) -> tuple[list[Run], list[Message]]:
    """Like ``start``, and the messages whose tasks alone cannot be started for now.

    They are to be tried again by the same claims: of a start whose commit was not answered nobody
    else knows that it is ours.
    """
    if len(messages) == 1 and (run := _debut(model, messages[0], worker, lease)):
        return [run], []
    until = _ends(lease)
    claims = {
        message: _claim(task, message.running_id, worker, until)
        for message, task in resolve.due(model, messages).items()
    }
    apply_each(list(claims.values()))
    failures = {message: move.error for message, move in claims.items() if move.error}
    _log_failures(failures)
    open_ = {message for message, move in claims.items() if move.event or move.error}
    settle([message for message in messages if message not in open_], result=False)
    runs = [
        Run(cast("SimpleTask", move.task), worker, message)
        for message, move in claims.items()
        if move.event
    ]
    return runs, [message for message, failure in failures.items() if may_be_transient(failure)]


def _debut(model: type[SimpleTask], message: Message, worker: str, lease: float) -> Run | None:
    """The run of a task that was never started; None if more than one statement is needed.

    Of many messages the rows are read first: that costs each of them less.
    """
    if message.attempt > 1:
        return None
    try:
        using, pk = resolve.address(model, message)
        blank = blank_of(model, using, pk)
    except Exception:  # whoever reads its row meets it, too
        return None
    if blank is None:
        return None
    task, reading = blank
    data, values = {"claim": message.running_id}, {"check_at": clock.after(using, lease)}
    move = Transition(task, EventKind.START, worker=worker, data=data, values=values)
    return Run(task, worker, message) if record_debut(move, reading) else None


def _log_failures(failures: Mapping[Message, Exception]) -> None:
    passing = [message for message, failure in failures.items() if may_be_transient(failure)]
    if passing:
        # One line for all: what keeps one from being started keeps hundreds.
        first = passing[0]
        _logger.warning(
            "start_postponed tasks=%s id=%s error=%s", len(passing), first.id, failures[first]
        )
    for message in failures.keys() - set(passing):
        # Not settled: the message comes back when its lease ends, and holds up nobody.
        _logger.error("start_failed id=%s", message.id, exc_info=failures[message])


def start_unrung(model: type[SimpleTask], limit: int, *, worker: str, lease: float) -> list[Run]:
    """Claim waiting tasks by looking at the table: the runs to perform, while there is no Redis.

    Only tasks whose bell is in doubt: what was saved after Redis went away, and what has been
    waiting for longer than a bell is trusted. Errors as in ``start``.
    """
    tasks = [task for using in databases_of(model) for task in _unrung(model, using, limit)]
    until = _ends(lease)
    moves = [_claim(task, str(uuid.uuid4()), worker, until) for task in tasks]
    apply_each(moves)
    return [Run(cast("SimpleTask", move.task), worker) for move in moves if move.event is not None]


def _unrung(model: type[SimpleTask], using: str, limit: int) -> list[SimpleTask]:
    root = root_of(model)
    due = rows_of(root, using).pending().lost().due().order_by("check_at")
    tasks = as_saved(root, using, due.values_list("pk", flat=True)[:limit])
    return [task for task in tasks if type(task) is model]


def _ends(lease: float) -> Callable[[str], datetime]:
    """When leases end that begin together, by the clock of each database."""
    return cache(partial(clock.after, seconds=lease))


def _claim(
    task: SimpleTask, claim: str, worker: str, until: Callable[[str], datetime]
) -> Transition:
    values = {"check_at": until(home_of(task))}
    known = known_row(task)
    data = {"claim": claim}
    return Transition(
        task, EventKind.START, worker=worker, data=data, values=values, last_known_row=known
    )

"""Start tasks: load the rows that messages name, claim them in the database, make runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import cast

from django.db.models import Q

from ..db import clock
from ..db.errors import may_be_transient
from ..db.loading import load_tasks
from ..exceptions import TaskExpired
from ..ledger.task_row import table_model, write_database
from ..logs import get_logger
from ..models.queryset import due_rows, overdue_rows, rows_after
from ..models.registry import holds
from ..models.task import SimpleTask
from ..queue import Message
from ..states import EventKind, Status
from ..transitions.best_effort import apply_each
from ..transitions.expiry import log_expired
from ..transitions.transition import Transition, known_row
from . import resolve
from .isolation import RunAlone, set_aside
from .run import Run
from .settle import acknowledge

_logger = get_logger(__name__)

_PAGE_SIZE = 200  # rows of a table that are looked at together


def start(
    model: type[SimpleTask],
    messages: Sequence[Message],
    *,
    worker: str,
    lease: float,
    run_alone: RunAlone | None = None,
) -> tuple[list[Run], list[Message]]:
    """Claim the tasks of ``messages`` in the database: the runs to perform, and postponed messages.

    A message that asks for nothing (the task is deleted, finished or of another model) is settled
    here. A postponed message is to be tried again with the same claim: if the commit of a start was
    not answered, only that claim finds it. Transient database errors are raised if nothing could be
    started; the same call finds what was claimed before them. Tasks that must run alone are given
    to ``run_alone``; their messages are postponed until they are started there.
    """
    tasks = resolve.resolve_due_tasks(model, messages)
    lone_tasks = set_aside(tasks.values(), run_alone)
    waiting = [message for message, task in tasks.items() if task in lone_tasks]
    claims = _claim_all({m: t for m, t in tasks.items() if t not in lone_tasks}, worker, lease)
    errors = {message: claim.error for message, claim in claims.items() if claim.error}
    _log_start_errors(errors)
    _log_unknown_statuses(claims.values())
    unsettled = {message for message, claim in claims.items() if claim.event or claim.error}
    unsettled.update(waiting)
    acknowledge([message for message in messages if message not in unsettled], result=False)
    runs = [Run(cast("SimpleTask", c.task), worker, m) for m, c in claims.items() if c.event]
    again = [message for message, error in errors.items() if may_be_transient(error)]
    return runs, [*again, *waiting]


def _claim_all(
    tasks: Mapping[Message, SimpleTask], worker: str, lease: float
) -> dict[Message, Transition]:
    lease_end = _lease_end_by_database(lease)
    claims = {
        message: _start_transition(task, message.running_id, worker, lease_end)
        for message, task in tasks.items()
    }
    _apply_starts(list(claims.values()))
    return claims


def _apply_starts(claims: Sequence[Transition]) -> None:
    """Start the tasks of ``claims``; those that have expired are canceled instead."""
    apply_each(claims)
    expired = [claim for claim in claims if isinstance(claim.refusal, TaskExpired)]
    if not expired:
        return
    expiries = [Transition(c.task, EventKind.EXPIRE, worker=c.worker) for c in expired]
    try:
        apply_each(expiries)
    except Exception as error:
        # Recovery expires them; the tasks that were started must not wait for that.
        _logger.warning("expiry_postponed tasks=%s error=%s", len(expired), error)
    log_expired(expiry.task for expiry in expiries if expiry.event is not None)


def _log_unknown_statuses(transitions: Iterable[Transition]) -> None:
    # Rows of a newer version, in a rolling deploy: its own nodes look after them.
    for transition in transitions:
        task = transition.task
        if transition.refusal is not None and not isinstance(task.status, Status):
            _logger.warning(
                "unknown_status model=%s pk=%s status=%s", task._meta.label, task.pk, task.status
            )


def _log_start_errors(errors: Mapping[Message, Exception]) -> None:
    postponed = [message for message, error in errors.items() if may_be_transient(error)]
    if postponed:
        # One line for all: an outage postpones hundreds.
        first = postponed[0]
        _logger.warning(
            "start_postponed tasks=%s id=%s error=%s", len(postponed), first.id, errors[first]
        )
    for message in errors.keys() - set(postponed):
        # Not settled: the message is delivered again when its lease ends.
        _logger.error("start_failed id=%s", message.id, exc_info=errors[message])


def start_without_queue(
    model: type[SimpleTask],
    using: str,
    limit: int,
    *,
    worker: str,
    lease: float,
    run_alone: RunAlone | None = None,
) -> list[Run]:
    """Claim up to ``limit`` waiting tasks of the table, while Redis is away: the runs to perform.

    Only tasks whose ``check_at`` has passed: they were saved after Redis went away, or their
    message was pushed so long ago that it may be lost. Errors as in ``start``.
    """
    tasks = _overdue_tasks(model, using, limit) if holds(model, using) else []
    lone_tasks = set_aside(tasks, run_alone)
    return _start_tasks([task for task in tasks if task not in lone_tasks], worker, lease)


def start_one(
    model: type[SimpleTask], using: str, key: str, *, worker: str, lease: float
) -> list[Run]:
    """Claim one task of the table by its key, as text: its run, or nothing if it does not wait."""
    root = table_model(model)
    tasks = load_tasks(root, using, [root._meta.pk.to_python(key)])
    clock.refresh(using)
    due = [t for t in tasks if t.status == Status.PENDING and clock.is_past(t.run_after, using)]
    return _start_tasks(due, worker, lease)


def _start_tasks(tasks: Sequence[SimpleTask], worker: str, lease: float) -> list[Run]:
    lease_end = _lease_end_by_database(lease)
    transitions = [_start_transition(task, _new_claim(), worker, lease_end) for task in tasks]
    _apply_starts(transitions)
    return [Run(cast("SimpleTask", t.task), worker) for t in transitions if t.event is not None]


def start_from_table(
    model: type[SimpleTask],
    using: str,
    limit: int,
    *,
    worker: str,
    lease: float,
    tried: set[tuple[object, int]],
    run_alone: RunAlone | None = None,
) -> list[Run]:
    """Claim up to ``limit`` due tasks of the table, whether they have messages or not.

    Rows are tried once: ``tried`` has the keys and sequence numbers of those that are of no use
    here. Errors as in ``start``.
    """
    lease_end = _lease_end_by_database(lease)
    for page in _due_pages(model, using, tried) if holds(model, using) else ():
        tasks = _load_own(model, using, list(page))
        lone_tasks = set_aside(tasks, run_alone)
        chosen = [task for task in tasks if task not in lone_tasks][:limit]
        claims = [_start_transition(task, _new_claim(), worker, lease_end) for task in chosen]
        _apply_starts(claims)
        for error in (claim.error for claim in claims if claim.event is None):
            if error is not None and may_be_transient(error):
                raise error
        later = {task.pk for task in tasks} - {task.pk for task in chosen}
        tried.update(row for row in page.items() if row[0] not in later)
        if runs := [Run(cast("SimpleTask", c.task), worker) for c in claims if c.event is not None]:
            return runs
    return []


def _due_pages(
    model: type[SimpleTask], using: str, tried: Container[tuple[object, int]]
) -> Iterator[dict[object, int]]:
    """Keys and sequence numbers of the due tasks of the table that were not tried."""
    due = due_rows(table_model(model), using)
    following = Q()
    while True:
        page = list(due.filter(following).values_list("pk", "sequence", "check_at")[:_PAGE_SIZE])
        untried = {pk: sequence for pk, sequence, _ in page if (pk, sequence) not in tried}
        if untried:
            yield untried
        if len(page) < _PAGE_SIZE:
            return
        pk, _, last = page[-1]
        following = rows_after(last, pk)


def _load_own(model: type[SimpleTask], using: str, pks: Sequence[object]) -> list[SimpleTask]:
    """The tasks that are of ``model``; a row that cannot be loaded is logged and left out."""
    root = table_model(model)
    try:
        tasks = load_tasks(root, using, pks) if pks else []
    except Exception as error:
        if may_be_transient(error):
            raise
        if len(pks) > 1:
            return [task for pk in pks for task in _load_own(model, using, [pk])]
        _logger.exception("row_unreadable model=%s pk=%s", root._meta.label, pks[0])
        return []
    return [task for task in tasks if type(task) is model]


def _overdue_tasks(model: type[SimpleTask], using: str, limit: int) -> list[SimpleTask]:
    root = table_model(model)
    due = overdue_rows(root, using, is_due=True).order_by("check_at")
    tasks = load_tasks(root, using, due.values_list("pk", flat=True)[:limit])
    return [task for task in tasks if type(task) is model]


def _lease_end_by_database(lease: float) -> Callable[[str], datetime]:
    """The end of leases that begin now, by the clock of each database."""

    def lease_end(using: str) -> datetime:
        clock.refresh(using)
        return clock.after(using, lease)

    return cache(lease_end)


def _new_claim() -> str:
    return str(uuid.uuid4())


def _start_transition(
    task: SimpleTask, claim_id: str, worker: str, lease_end: Callable[[str], datetime]
) -> Transition:
    return Transition(
        task,
        EventKind.START,
        worker=worker,
        data={"claim": claim_id},
        values={"check_at": lease_end(write_database(task))},
        last_known_row=known_row(task),
    )

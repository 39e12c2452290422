"""Start tasks: load the rows that messages name, claim them in the database, make runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import cast

from ..db import clock
from ..db.errors import may_be_transient
from ..db.loading import load_tasks
from ..exceptions import LimitReached, TaskExpired
from ..ledger.task_row import table_model, write_database
from ..logs import get_logger
from ..models.task import SimpleTask
from ..queue import Message
from ..states import EventKind, Status
from ..transitions.best_effort import apply_each
from ..transitions.expiry import log_expired
from ..transitions.transition import Transition, known_row
from . import resolve
from .isolation import RunAlone, set_aside
from .run import Run
from .settle import acknowledge, forget

_logger = get_logger(__name__)

#: The rows of tables whose failed starts this process has logged, with their sequence numbers.
_logged: set[tuple[object, ...]] = set()
_MAX_LOGGED = 1000


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
    waiting: list[Message] = []
    if lone_tasks := set_aside(tasks.values(), run_alone):
        waiting = [message for message, task in tasks.items() if task in lone_tasks]
        tasks = {m: t for m, t in tasks.items() if t not in lone_tasks}
    claims = _claim_all(tasks, worker, lease)
    errors = {message: claim.error for message, claim in claims.items() if claim.error}
    _log_start_errors(errors)
    _log_unknown_statuses(claims.values())
    unsettled = {message for message, claim in claims.items() if claim.event or claim.error}
    unsettled.update(waiting)
    turned_away = [m for m, claim in claims.items() if isinstance(claim.refusal, LimitReached)]
    forget(turned_away)
    unsettled.update(turned_away)
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


def log_failed_claims(claims: Iterable[Transition]) -> None:
    """Log the errors of tasks that were claimed without messages, each once: all looks find them.

    Those that may be transient are left out.
    """
    for claim in claims:
        task, error = claim.task, claim.error
        if claim.event is not None or error is None or may_be_transient(error):
            continue
        row = (task._meta.label, task._state.db, task.pk, task.sequence)
        if row in _logged:
            continue
        if len(_logged) >= _MAX_LOGGED:
            _logged.clear()
        _logged.add(row)
        _logger.error("start_failed model=%s pk=%s", task._meta.label, task.pk, exc_info=error)


def start_one(
    model: type[SimpleTask], using: str, key: str, *, worker: str, lease: float
) -> list[Run]:
    """Claim one task of the table by its key, as text: its run, or nothing if it does not wait."""
    root = table_model(model)
    tasks = load_tasks(root, using, [root._meta.pk.to_python(key)])
    clock.refresh(using)
    due = [t for t in tasks if t.status == Status.PENDING and clock.is_past(t.run_after, using)]
    claims = claim(due, worker=worker, lease=lease)
    log_failed_claims(claims)
    return [Run(cast("SimpleTask", c.task), worker) for c in claims if c.event is not None]


def claim(tasks: Sequence[SimpleTask], *, worker: str, lease: float) -> list[Transition]:
    """Claim ``tasks`` in the database, without messages; those that have expired are canceled.

    The ``start`` of each has an event, a refusal or an error. Errors as in ``start``.
    """
    lease_end = _lease_end_by_database(lease)
    claims = [_start_transition(task, _new_claim(), worker, lease_end) for task in tasks]
    _apply_starts(claims)
    return claims


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

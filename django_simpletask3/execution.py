"""The way of a task through a worker: started, performed, finished, in batches at both ends."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, cast

from . import addresses, backoff, bodies, clock
from .batches import record_each
from .catalog import as_saved, blank_of, databases_of
from .events import since_fresh_start
from .exceptions import QueueUnavailable
from .faults import is_passing, may_pass
from .inheritance import inherited
from .interruption import Interruptible
from .models import SimpleTask
from .moves import Move, state_in
from .querysets import rows_of
from .queue import Message, get_queue
from .states import EventKind
from .task_row import home_of, root_of
from .transitions import record_debut

_logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Run:
    """One attempt at one task, on its way through a worker."""

    task: SimpleTask
    worker: str
    message: Message | None = None
    move: Move | None = None
    seconds: float = 0.0
    began: float = 0.0
    body: Interruptible = field(default_factory=Interruptible)
    attempt: int = field(init=False)
    pk: Any = field(init=False)
    using: str = field(init=False)
    known: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # A body may do to its instance what it likes, even make a copy under another key.
        self.attempt, self.pk, self.using = self.task.attempt, self.task.pk, home_of(self.task)
        self.known = state_in(self.task)


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
        for message, task in addresses.due(model, messages).items()
    }
    record_each(list(claims.values()))
    failures = {message: move.failure for message, move in claims.items() if move.failure}
    _log_failures(failures)
    open_ = {message for message, move in claims.items() if move.event or move.failure}
    settle([message for message in messages if message not in open_], result=False)
    runs = [
        Run(cast("SimpleTask", move.task), worker, message)
        for message, move in claims.items()
        if move.event
    ]
    return runs, [message for message, failure in failures.items() if may_pass(failure)]


def _debut(model: type[SimpleTask], message: Message, worker: str, lease: float) -> Run | None:
    """The run of a task that was never started; None if more than one statement is needed.

    Of many messages the rows are read first: that costs each of them less.
    """
    if message.attempt > 1:
        return None
    try:
        using, pk = addresses.address(model, message)
        blank = blank_of(model, using, pk)
    except Exception:  # whoever reads its row meets it, too
        return None
    if blank is None:
        return None
    task, reading = blank
    data, values = {"claim": message.running_id}, {"lease_until": clock.after(using, lease)}
    move = Move(task, EventKind.START, worker=worker, data=data, values=values)
    return Run(task, worker, message) if record_debut(move, reading) else None


def _log_failures(failures: Mapping[Message, Exception]) -> None:
    passing = [message for message, failure in failures.items() if may_pass(failure)]
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
    record_each(moves)
    return [Run(cast("SimpleTask", move.task), worker) for move in moves if move.event is not None]


def _unrung(model: type[SimpleTask], using: str, limit: int) -> list[SimpleTask]:
    root = root_of(model)
    due = rows_of(root, using).pending().lost().due().order_by("lease_until")
    tasks = as_saved(root, using, due.values_list("pk", flat=True)[:limit])
    return [task for task in tasks if type(task) is model]


def perform(run: Run) -> None:
    """Run the body and note how it ended as the run's move; never raises."""
    run.began = time.monotonic()
    try:
        before = bodies.snapshot(run.task)
        move = _outcome(run)
        move.values = {**bodies.assigned(run.task, before), **move.values}
    except Exception as error:
        move = _failure(run, error)
    run.seconds = time.monotonic() - run.began
    move.data["seconds"] = round(run.seconds, 6)
    run.move = move


def finish(runs: Sequence[Run]) -> list[Run]:
    """Record how the runs ended, together, then settle their messages.

    Database errors that may pass are raised and the same call can be made again: what was recorded
    already is not recorded twice. A run whose outcome cannot be written as it is has failed. What
    was not recorded is returned, with its error as ``move.failure``: if that passes, the run is to
    be finished again; else not even its failure can be written, and its lease is to be let go.
    """
    for run in runs:
        _choose_retry(run)
    _record(runs)
    refused = [run for run in runs if _is_to_blame(run)]
    for run in refused:
        _replace_by_failure(run)
    if refused:
        _record(refused)
    for kind_is_ack in (True, False):
        done = [run for run in runs if _has_ended(run, kind_is_ack)]
        settle([run.message for run in done if run.message], result=kind_is_ack)
    return [run for run in runs if run.move and run.move.failure]


def _record(runs: Sequence[Run]) -> None:
    record_each([run.move for run in runs if run.move is not None])


def _is_to_blame(run: Run) -> bool:
    failure = run.move.failure if run.move else None
    return failure is not None and not is_passing(failure)


def _has_ended(run: Run, kind_is_ack: bool) -> bool:
    move = run.move
    return bool(move and not move.failure and (move.kind is EventKind.ACK) is kind_is_ack)


def release(runs: Iterable[Run], reason: str) -> list[Run]:
    """Give tasks back unfinished: PENDING again, at the head of the queue; those that were ours."""
    moves = {run: _last_word(run, EventKind.RELEASE, reason=reason) for run in runs}
    record_each(list(moves.values()))
    given = [run for run, move in moves.items() if move.event is not None]
    give_back([run.message for run in given if run.message], reason)
    return given


def settle(messages: Sequence[Message], *, result: bool) -> None:
    """Tell SimQ that these messages are done; never raises.

    If Redis does not hear it, the message comes once more and its row says that it is done.
    """
    try:
        if messages:
            get_queue().ack_many(messages, result)
    except QueueUnavailable as error:
        _logger.warning("ack_failed messages=%s error=%s", len(messages), error)


def give_back(messages: Sequence[Message], reason: str) -> None:
    """Return messages to the head of their queue; never raises."""
    try:
        if messages:
            get_queue().ret_many(messages, reason, head=True)
    except QueueUnavailable as error:
        _logger.warning("return_failed messages=%s error=%s", len(messages), error)


def _ends(lease: float) -> Callable[[str], datetime]:
    """When leases end that begin together, by the clock of each database."""
    return cache(partial(clock.after, seconds=lease))


def _claim(task: SimpleTask, claim: str, worker: str, until: Callable[[str], datetime]) -> Move:
    values = {"lease_until": until(home_of(task))}
    known = state_in(task)
    data = {"claim": claim}
    return Move(task, EventKind.START, worker=worker, data=data, values=values, known=known)


def _outcome(run: Run) -> Move:
    message = run.message.as_dict if run.message else None
    try:
        with inherited(run.task), run.body:
            returned = bodies.call(run.task, worker=run.worker, msg=message)
    except BaseException as error:  # sys.exit() in a body ends the task, not the thread
        return _failure(run, error)
    finally:
        _reclaim(run)
    return _last_word(run, EventKind.ACK, result=returned)


def _reclaim(run: Run) -> None:
    """Make the instance stand for its row again (test_a_task_that_copies_itself_is_finished)."""
    run.task.pk = run.pk
    run.task._state.adding, run.task._state.db = False, run.using


def _failure(run: Run, error: BaseException) -> Move:
    return _last_word(run, EventKind.FAIL, error=bodies.told(error))


def _last_word(run: Run, kind: EventKind, **details: Any) -> Move:
    # The fence is the attempt that was claimed, whatever the body did to the instance.
    fence = {"attempt": run.attempt}
    return Move(run.task, kind, worker=run.worker, expect=fence, known=run.known, **details)


def _choose_retry(run: Run) -> None:
    """Turn a failure into a retry while the task has retries left."""
    allowed = run.task.django_simpletask3_max_retries or 0
    if run.move is None or run.move.kind is not EventKind.FAIL or allowed <= 0:
        return
    begun = (EventKind.ENQUEUE, EventKind.RESET)
    used = since_fresh_start(run.task, [EventKind.RETRY], begun).count()
    if used >= allowed:
        return
    using = run.task._state.db or "default"
    delay = backoff.exponential(used + 1)
    values = {**run.move.values, "run_after": clock.now(using) + timedelta(seconds=delay)}
    data = {
        **run.move.data,
        "retry_in": round(delay, 3),
        "traceback": (run.move.error or {}).get("traceback"),
    }
    run.move = _last_word(run, EventKind.RETRY, error=run.move.error, values=values, data=data)


def _replace_by_failure(run: Run) -> None:
    """The outcome cannot be written as it is: then that is the outcome."""
    error = run.move.failure if run.move else None
    _logger.error("finish_failed model=%s pk=%s", run.task._meta.label, run.pk, exc_info=error)
    if error is not None:
        run.move = _failure(run, error)

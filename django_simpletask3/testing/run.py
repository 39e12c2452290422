"""Run the tasks that are due, in the process and the transaction of a test."""

from __future__ import annotations

import contextvars
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error, connections
from django.utils import timezone, translation

from .. import subscriptions
from ..conf.leases import policy_of
from ..context import EMPTY_CONTEXT, acting_as, running_task
from ..control import PAUSE, current_commands
from ..db import clock
from ..db.loading import models_by_label
from ..exceptions import Retry
from ..execution.finish import finish
from ..execution.outcomes.log import log_outcome
from ..execution.perform import perform
from ..execution.run import Run
from ..execution.simulated_crash import SimulatedCrash
from ..execution.start import claim
from ..ledger.task_row import table_model, task_name
from ..limits.declared import limited_models
from ..limits.maintenance import serve_limits
from ..models.each_database import in_each_database, one_after_the_other, run_by
from ..models.task import SimpleTask
from ..recovery.dependents import serve_all
from ..recovery.expired_tasks import expire_tasks
from ..recovery.lost_workers import recover_or_drop
from ..recovery.service import LEASE_EXPIRED
from ..signals import task_transitioned
from ..states import EventKind, Status
from ..worker.watch.worker_name import worker_name
from .autocommit import outside_of_transaction
from .clock import current_clock
from .crashes.crash_points import WorkerProcess
from .selection import Key, Selection, Table, load_all, may_read_commands
from .ticks import fire_due_ticks

#: The events that put a task into each list of a result.
_OUTCOMES: dict[str, frozenset[str]] = {
    "succeeded": frozenset({EventKind.ACK}),
    "failed": frozenset({EventKind.FAIL, EventKind.DROP}),
    "retried": frozenset({EventKind.RETRY}),
    "canceled": frozenset({EventKind.CANCEL, EventKind.EXPIRE}),
}

#: Rounds of deliveries to subscribers in a row, and claims of one task that do not start it.
_MAX_DELIVERIES = 1000
_MAX_CLAIMS = 1000


class TooManyRuns(AssertionError):
    """``run_tasks()`` has run as many tasks as its ``limit`` allows, and more are due."""


@dataclass(frozen=True)
class RunResult:
    """What ``run_tasks()`` has done, as lists of tasks in the order in which it happened.

    A task that was retried and has succeeded then is in both lists. ``blocked`` and ``left`` are
    the tasks that are BLOCKED, and PENDING or RUNNING, afterwards: they wait for a later time,
    their queue is paused, ``until`` or a crash came before them, a crash or ``lose_worker()`` has
    left them RUNNING, or ``lose_message()`` has lost their message. Tasks of other models than
    those that were asked for are in no list.
    """

    succeeded: list[Any] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)
    retried: list[Any] = field(default_factory=list)
    canceled: list[Any] = field(default_factory=list)
    blocked: list[Any] = field(default_factory=list)
    left: list[Any] = field(default_factory=list)


def run_tasks(
    *models_or_tasks: type[SimpleTask] | SimpleTask | Any,
    limit: int = 1000,
    until: Callable[[], bool] | None = None,
    raise_errors: bool = False,
) -> RunResult:
    """Run the tasks that are due, until none is due any more.

    All tasks, or those of some models and their subclasses, or some tasks, which are refreshed
    from the database afterwards. Of the tasks that they enqueue, those of these models run, too.
    They run one after the other, in the order in which a node would start them, in this process
    and thread, and by the code that a node uses: the rows and events are the same. Limits, unique
    keys, prerequisites, paused queues and expiry count; expired tasks of these tables are canceled,
    dependents served, and events delivered to subscribers, as a node does it. Within
    ``task_clock()``, leases that are over and ticks of schedules count, too. Redis is not used.

    Works within a test's transaction: there, the outermost ``atomic()`` of a task function is a
    savepoint, and the ``on_commit()`` hooks and signals of the run follow it; hooks that the test
    has registered before are left alone. So what a function wrote before it failed is still there
    afterwards, as in production.

    Within ``crash_after()`` or ``crash_before()`` it returns when the worker has crashed.

    Stops before the next task once ``until()`` is true. Raises TooManyRuns if more tasks are due
    after ``limit`` runs. With ``raise_errors``, what a task function has raised is raised again
    once the outcome is recorded, unless it was Retry, Snooze or Cancel.
    """
    selection = Selection.of(models_or_tasks)
    runner = Runner(selection, limit=limit, until=until, raise_errors=raise_errors)
    try:
        with outside_of_transaction():
            runner.run()
    finally:
        selection.refresh()
    return runner.result()


async def arun_tasks(*models_or_tasks: type[SimpleTask] | SimpleTask | Any, **options: Any) -> Any:
    """As ``run_tasks()``."""
    return await sync_to_async(run_tasks)(*models_or_tasks, **options)


class Runner:
    """Runs the due tasks of a selection, one after the other."""

    #: The one that runs just now, in each thread: a task function may call ``run_tasks()``.
    current: ContextVar[Runner | None] = ContextVar("current", default=None)

    def __init__(
        self,
        selection: Selection,
        *,
        limit: int = 1000,
        until: Callable[[], bool] | None = None,
        raise_errors: bool = False,
    ) -> None:
        self._selection = selection
        self._limit = limit
        self._until = until or (lambda: False)
        self._raises_errors = raise_errors
        self._worker = worker_name(os.getpid(), "test")
        self._process = WorkerProcess(self._worker, self._follow)
        self._runs: Counter[str] = Counter()
        #: How often tasks were claimed, and did not start.
        self._idle_claims: Counter[Key] = Counter()
        #: The tables in which tasks may be due.
        self._tables = {key.table for key in selection.keys}
        self._all_tables = set(selection.tables())
        #: What was recorded meanwhile, in order.
        self._events: list[tuple[Key, str]] = []
        #: Rows that are due and do not start: those of other models in the table, for example.
        self._skipped: set[Key] = set()
        #: The models whose queues are paused, and rows of them.
        self._paused: set[str] = set()
        self._paused_rows: set[Key] = set()

    def include(self, key: Key) -> None:
        """Run this task, too."""
        self._selection.include(key)
        self._skipped.discard(key)
        self._tables.add(key.table)

    def result(self) -> RunResult:
        """What was done, and what is left."""
        selection, events = self._selection, self._events
        by_list = {
            name: dict.fromkeys(key for key, kind in events if kind in kinds)
            for name, kinds in _OUTCOMES.items()
        }
        unfinished = selection.unfinished_tasks(self._tables | selection.unfinished_tables())
        tasks = load_all(chain.from_iterable(by_list.values()))
        tasks = {key: task for key, task in tasks.items() if selection.has(task)}
        tasks |= {Key.of(task): task for task in (*unfinished, *selection.tasks)}
        waiting = [tasks[Key.of(task)] for task in unfinished]
        return RunResult(
            **{name: [tasks[k] for k in keys if k in tasks] for name, keys in by_list.items()},
            blocked=[task for task in waiting if task.status == Status.BLOCKED],
            left=[task for task in waiting if task.status != Status.BLOCKED],
        )

    def run(self) -> None:
        """Run the tasks, in a context like that of a worker: without actor, language and time zone.

        Call it within ``outside_of_transaction``.
        """
        contextvars.copy_context().run(self._run)

    def _run(self) -> None:
        outer = Runner.current.get()
        Runner.current.set(self)
        with ExitStack() as stack:
            if outer is None:
                stack.enter_context(self._process.alive())
            else:
                self._process = outer._process
            task_transitioned.connect(self._follow, weak=False)
            stack.callback(task_transitioned.disconnect, self._follow)
            stack.enter_context(running_task(None, lambda: EMPTY_CONTEXT))
            stack.enter_context(run_by(self._in_usable_databases))
            translation.deactivate()
            timezone.deactivate()
            in_each_database(clock.refresh, self._selection.databases)
            try:
                self._fire_ticks()
                while not self._until() and (task := self._next()) is not None:
                    self._start(task)
            except SimulatedCrash:
                _end_transactions()

    def _follow(self, task: Any, event: Any, **_: Any) -> None:
        """A receiver of the signal that follows each commit."""
        key = Key.of_event(task, event)
        self._events.append((key, event.kind))
        if key.table in self._all_tables:
            self._tables.add(key.table)

    def _in_usable_databases(
        self, work: Callable[[str], Any], aliases: Iterable[str]
    ) -> dict[str, Any]:
        usable = self._selection.databases
        return one_after_the_other(work, [using for using in aliases if using in usable])

    def _next(self) -> SimpleTask | None:
        """The next task to start, after what a node does besides if none is due."""
        task = self._first_due()
        if task is None:
            self._maintain()
            self._tables |= self._selection.unfinished_tables()
            task = self._first_due()
        return task

    def _first_due(self) -> SimpleTask | None:
        self._read_commands()
        # A copy: tasks that other threads save add tables meanwhile.
        tables = [table for table in set(self._tables) if not self._is_paused(table)]
        while True:
            key = self._selection.first_due(tables, self._skipped | self._paused_rows)
            task: SimpleTask | None = load_all([key]).get(key) if key else None
            if key is None:
                return None
            if task is None or not self._selection.has(task):
                self._skipped.add(key)
            elif task._meta.label in self._paused:
                self._paused_rows.add(key)
            else:
                return task

    def _read_commands(self) -> None:
        commands = current_commands() if may_read_commands() else []
        paused = {command.target for command in commands if command.action == PAUSE}
        if paused != self._paused:
            self._paused, self._paused_rows = paused, set()

    def _is_paused(self, table: Table) -> bool:
        """Whether the queues of all models in ``table`` are paused."""
        return models_by_label(table[0]).keys() <= self._paused

    def _maintain(self) -> None:
        """Do what a node does besides: expire tasks, serve limits and dependents, deliver events.

        A database error is logged, as there.
        """
        with acting_as(f"recovery {self._worker}"):
            models = {root for root, _ in self._selection.tables()}
            expire_tasks(models=models)
            if current_clock() is not None:
                self._recover_expired_leases()
            if any(table_model(model) in models for model in limited_models()):
                in_each_database(
                    lambda using: serve_limits(using, None, math.inf), self._selection.databases
                )
            serve_all()
        for _ in range(_MAX_DELIVERIES):
            if not subscriptions.deliver(worker=self._worker):
                break
        self._fire_ticks()

    def _recover_expired_leases(self) -> None:
        for table in self._selection.unfinished_tables():
            now = clock.now(table[1])
            running = self._selection.load(table, status=Status.RUNNING, check_at__lte=now)
            recover_or_drop(running, LEASE_EXPIRED)

    def _fire_ticks(self) -> None:
        """Fire what the test has made due by moving the clock."""
        if (task_clock := current_clock()) is not None:
            fire_due_ticks(self._selection, task_clock)

    def _start(self, task: SimpleTask) -> None:
        self._check_limit(task)
        lease = policy_of(task.get_event_channel()).lease
        [start] = claim([task], worker=self._worker, lease=lease)
        if start.event is not None:
            self._runs[task._meta.label] += 1
            self._perform(Run(task, self._worker))
        elif start.error is not None:
            raise start.error
        else:
            self._idle_claims[Key.of(task)] += 1
            if task.status == Status.PENDING:
                self._skipped.add(Key.of(task))

    def _check_limit(self, task: SimpleTask) -> None:
        if self._runs.total() >= self._limit:
            most = ", ".join(f"{label} {n} times" for label, n in self._runs.most_common(3))
            raise TooManyRuns(
                f"{self._limit} tasks were run ({most}), and {task._meta.label} {task.pk} is due. "
                "Does a task enqueue itself? If not, set a higher limit."
            )
        if self._idle_claims[Key.of(task)] >= _MAX_CLAIMS:
            raise TooManyRuns(
                f"{task_name(task)} was claimed {_MAX_CLAIMS} times, did not start, and is due."
            )

    def _perform(self, run: Run) -> None:
        contextvars.copy_context().run(perform, run)
        _end_transactions()
        error = run.error
        if finish([run]) and run.transition is not None and run.transition.error is not None:
            raise run.transition.error
        is_raised = self._raises_errors and not _is_requested(run)
        log_outcome(run)
        if error is not None and (is_raised or isinstance(error, KeyboardInterrupt)):
            raise error


def _is_requested(run: Run) -> bool:
    """Whether the function has asked for what follows, by raising Retry."""
    is_retried = run.transition is not None and run.transition.kind is EventKind.RETRY
    return is_retried and isinstance(run.error, Retry)


def _end_transactions() -> None:
    """Roll back what a task function has left open, as a worker does by closing the session."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
        elif connection.connection and not connection.autocommit:
            with suppress(Error):  # a session that has ended; one of a database in memory stays
                connection.rollback()
                connection.set_autocommit(True)
            connection.close()

"""One process of a node: its threads, and how they end in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from django.db import connections, router

from .. import control, subscriptions
from ..conf.options import options
from ..context import acting_as
from ..db import clock
from ..exceptions import QueueUnavailable, StopReason
from ..execution.finish import release
from ..execution.isolation import RunAlone
from ..execution.run import Run
from ..ledger.stop_signal import announce_stop, request_stop
from ..limits.offer import call_before_next_start
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.registry import possible_databases
from ..models.task import SimpleTask
from ..queue import get_queue
from ..recovery import schedules, service
from ..recovery.lost_workers import LostProcess
from .control_listener import ControlListener, stop_node
from .databases.patience import Patience
from .databases.threads import PATIENCE_SECONDS, Apart
from .fetcher import Fetcher
from .finisher import FINISHER_RECORDS, Finisher, Outcomes
from .leases import Leases
from .loop import Loop, StopRequest
from .maintenance.due_hints import DueHints
from .maintenance.jobs import (
    SLOW_MAX_PAUSE,
    MaintenanceLoop,
    database_jobs,
    redis_jobs,
    slow_jobs,
)
from .maintenance.lease_monitor import CHECK
from .maintenance.pacing import SharedSchedule
from .maintenance.snapshot import SharedSnapshot, table_bits
from .node.counters import Counters
from .node.lone_tasks import LoneFetcher, LoneTask
from .pipeline import ModelPipeline
from .task_thread import TaskThread
from .time_limits import TimeLimits
from .watch.activity import Activity
from .watch.worker_name import is_known_dead
from .worker_report import WorkerReport

_logger = get_logger(__name__)

_POLL_SECONDS = 0.05
_DISPATCH_SECONDS = 1.0
_PARENT_CHECK_SECONDS = 0.9
_SLOW_PATIENCE_SECONDS = 600.0  # for the retention in one database
_STOP_SECONDS = 1.0  # seconds that task functions get after the grace time, if they look
_THREAD_END_SECONDS = 1.0  # seconds that threads get to end, also when the stop is forced


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """The models of a process with their numbers of threads, and what the node shares."""

    threads: Sequence[tuple[type[SimpleTask], int]]
    schedule: SharedSchedule
    snapshot: SharedSnapshot = field(default_factory=SharedSnapshot)
    burst: bool = False
    predecessors: Sequence[LostProcess] = ()
    activity: Activity = field(default_factory=lambda: Activity(0))
    traces: int | None = None  # the file to which faulthandler writes
    run_alone: RunAlone | None = None
    is_lone: bool = False  # it runs ``lone_task``, or only recovers its predecessors, and ends
    lone_task: LoneTask | None = None

    @property
    def records(self) -> int:
        """How many records of its activity the process needs."""
        finishers = FINISHER_RECORDS * len(list(connections))
        return sum(threads + 1 + finishers for _, threads in self.threads)  # one: the fetcher


class Process:
    """Runs a plan until stop is requested or, in burst mode, until no task is due."""

    def __init__(
        self, plan: ProcessPlan, *, worker: str, stop: StopRequest, counters: Counters
    ) -> None:
        self.worker = worker
        self.must_be_replaced = self.has_failed = self.has_given_up = False
        self._plan = plan
        self._stop = stop
        self._actor = f"recovery {worker}"
        self._apart = Apart("main")
        self._dispatching = threading.Lock()
        models = [model for model, _ in plan.threads]
        self._patience = Patience(using for model in models for using in possible_databases(model))
        self._leases = Leases(worker)
        self._hints = DueHints(self._wake_maintenance)
        plan.schedule.call_when_triggered(self._wake_maintenance)
        self._triggered_loops: list[Loop] = []
        call_before_next_start(self._hints.add_exact)
        self._counters = counters
        self._pipelines = [ModelPipeline(model, threads, worker) for model, threads in plan.threads]
        self._control = ControlListener(worker, plan.snapshot, partial(stop_node, os.getppid()))
        self._report = WorkerReport(worker, self._pipelines, self._leases, counters, plan.schedule)
        # Leases and outcomes outlast the stop request: they end when all other threads have ended.
        self._all_ended = StopRequest()
        self._task_threads = [
            TaskThread(p, i, plan.activity.recorder(1))
            for p in self._pipelines
            for i in range(p.threads)
        ]
        self._finishers: list[Finisher] = []
        for pipeline in self._pipelines:
            pipeline.on_outbox = partial(self._add_finisher, pipeline)
            pipeline.run_alone = plan.run_alone
            pipeline.is_stopping = lambda: stop.is_requested
            pipeline.is_paused = partial(self._control.is_paused, pipeline.model._meta.label)
        self._fetchers = [self._make_fetcher(pipeline) for pipeline in self._pipelines]
        self._fetching = [
            Loop(f"fetcher-{pipeline.model._meta.label}", stop, fetcher.step)
            for pipeline, fetcher in zip(self._pipelines, self._fetchers, strict=True)
        ]
        self._background = self._make_loops()
        if not plan.is_lone:
            self._background += [*self._make_serving_loops(), *self._make_maintenance_loops()]
        self._threads: list[threading.Thread] = [
            *self._task_threads,
            *self._background,
            *self._fetching,
        ]

    def _add_finisher(self, pipeline: ModelPipeline, using: str) -> None:
        finisher = Finisher(self._make_outcomes(pipeline, FINISHER_RECORDS), using)
        finisher.start()
        self._finishers.append(finisher)  # once it is alive: one that is not has died

    def _make_outcomes(self, pipeline: ModelPipeline, records: int) -> Outcomes:
        # A retry may be due while the lease monitor is idle.
        check = partial(self._plan.schedule.trigger, CHECK)
        recorder = self._plan.activity.recorder(records)
        return Outcomes(pipeline, self._leases, self._counters, check, recorder)

    def _make_fetcher(self, pipeline: ModelPipeline) -> Fetcher | LoneFetcher:
        if self._plan.lone_task is not None:
            return LoneFetcher(pipeline, self._leases, self._plan.lone_task)
        schedule = self._plan.schedule
        return Fetcher(
            pipeline,
            self._leases,
            self._stop,
            burst=self._plan.burst,
            last_activity=self._last_activity,
            is_push_failing=lambda: schedule.read()["push_overdue"].failures > 0,
            is_paused=partial(self._control.is_paused, pipeline.model._meta.label),
            on_hint=self._hints.add,
            outcomes=self._make_outcomes(pipeline, 1),
            may_be_due=partial(self._plan.snapshot.may_be_due, table_bits([pipeline.model])),
        )

    def _make_loops(self) -> list[Loop]:
        limits = TimeLimits(self._leases, self._give_up, [p.model for p in self._pipelines])
        return [
            Loop(
                "leases",
                self._all_ended,
                partial(Apart("leases").run, partial(self._leases.step, self._pipelines)),
            ),
            Loop("report", self._all_ended, self._report.step),
            Loop("time-limits", self._all_ended, limits.step),
        ]

    def _make_serving_loops(self) -> list[Loop]:
        return [
            Loop(
                "subscriptions",
                self._stop,
                partial(Apart("subscriptions").run, self._dispatch_outbox),
            ),
            Loop("control", self._stop, self._control.step),
        ]

    def _make_maintenance_loops(self) -> list[Loop]:
        plan = self._plan
        jobs = {
            "database": database_jobs(plan.schedule, plan.snapshot, self._hints),
            "redis": redis_jobs(plan.schedule, plan.snapshot),
        }
        self._triggered_loops = [
            self._make_maintenance_loop(
                name, MaintenanceLoop(jobs[name], plan.schedule, self._actor), PATIENCE_SECONDS
            )
            for name in jobs
        ]
        slow = MaintenanceLoop(
            slow_jobs(lambda: not self._stop.is_requested),
            plan.schedule,
            f"retention {self.worker}",
            max_pause=SLOW_MAX_PAUSE,
        )
        slow_loop = self._make_maintenance_loop("slow", slow, _SLOW_PATIENCE_SECONDS)
        return [*self._triggered_loops, slow_loop]

    def _make_maintenance_loop(self, name: str, loop: MaintenanceLoop, patience: float) -> Loop:
        name = f"maintenance-{name}"
        return Loop(name, self._stop, partial(Apart(name, patience).run, loop.step))

    def _wake_maintenance(self) -> None:
        """Have the jobs looked at now that one was triggered, or is needed earlier."""
        for loop in self._triggered_loops:
            loop.wake()

    def run(self) -> None:
        """Run; returns when every claimed task is recorded or returned to its queue.

        ``has_failed`` is True afterwards if a thread died, which makes this process useless.
        """
        parent = os.getppid()
        self._apart.run(self._prepare)
        for thread in self._threads:
            thread.start()
        pace = _POLL_SECONDS if self._ends_by_itself else _PARENT_CHECK_SECONDS
        while not self._should_end(parent):
            self._stop.wait(pace)
        self._stop.request()
        self._shut_down()

    def _dispatch_outbox(self) -> float:
        """Deliver due events to subscribers; the seconds until the next look."""
        with self._dispatching:
            count = subscriptions.deliver(
                worker=self.worker, may_go_on=lambda: not self._stop.is_requested
            )
            for pipeline in self._pipelines if count else ():
                pipeline.active_at = time.monotonic()  # a subscriber may have enqueued tasks
        return 0.0 if count else _DISPATCH_SECONDS

    def _give_up(self, run: Run) -> None:
        """Have this process replaced: ``run`` cannot be ended. Its other tasks are released."""
        self.must_be_replaced = True
        self._leases.remove([run])
        self._stop.force()
        with acting_as(self._actor):
            service.recover_overrun(run.task, run.attempt)

    def _prepare(self) -> None:
        try:
            databases = {router.db_for_write(pipeline.model) for pipeline in self._pipelines}
            in_each_database(clock.calibrate, databases)
            with acting_as(self._actor):
                for process in self._plan.predecessors:
                    service.recover_dead_process(process)
                    subscriptions.release_dead_workers([process.worker])
                if self._plan.burst:
                    service.recover_dead_local_workers(is_known_dead)
                    service.recover_all()
                    schedules.write_all()
                    schedules.fire_all()
            in_each_database(lambda _: self._control.check(), [control.command_database()])
        except Exception as error:
            # Recovery by lease does the same, later.
            _logger.warning("prepare_failed worker=%s error=%s", self.worker, error)
        finally:
            connections.close_all()

    def _should_end(self, parent: int) -> bool:
        self.has_failed = self._has_lost_a_thread()
        if self.has_failed or self._stop.is_requested or os.getppid() != parent:
            return True
        return self._ends_by_itself and self._should_end_by_itself()

    def _should_end_by_itself(self) -> bool:
        if self._is_drained():
            return not (self._plan.burst and self._has_delivered())
        if self._plan.burst and (error := self._patience.step()) is not None:
            _logger.error("burst_failed worker=%s error=%s", self.worker, error)
            self.has_given_up = True
        return self.has_given_up

    def _has_delivered(self) -> bool:
        """Deliver what is due before a burst ends; whether a subscriber may have enqueued tasks.

        Failed deliveries wait for a retry.
        """
        return self._dispatch_outbox() == 0.0

    @property
    def _ends_by_itself(self) -> bool:
        return self._plan.burst or self._plan.is_lone

    def _has_lost_a_thread(self) -> bool:
        threads = [*self._threads, *self._finishers]
        dead = [thread.name for thread in threads if not thread.is_alive()]
        # In this order: stop ends threads, but only after it was requested.
        if not dead or self._stop.is_requested:
            return False
        _logger.error("threads_died worker=%s threads=%s", self.worker, ",".join(dead))
        return True

    def _is_drained(self) -> bool:
        """Whether no due task was found after the last task of this process had ended.

        A task may enqueue others in any queue, while it runs or in a receiver of its outcome.
        """
        if self._leases.running():
            return False
        last = self._last_activity()
        return all(pipeline.empty_at > last for pipeline in self._pipelines)

    def _last_activity(self) -> float:
        return max((pipeline.active_at for pipeline in self._pipelines), default=0.0)

    def _shut_down(self) -> None:
        _logger.info("process_stopping worker=%s", self.worker)
        deadline = time.monotonic() + options.shutdown_grace
        self._wait_until(self._has_stopped_fetching, deadline)
        for fetcher, thread in zip(self._fetchers, self._fetching, strict=True):
            fetcher.return_messages()
            if not thread.is_alive():
                fetcher.stop_waiting()
        for pipeline in self._pipelines:
            self._apart.run(partial(self._return_runs, pipeline.drain_inbox(), pipeline))
            for _ in range(pipeline.threads):
                pipeline.inbox.put(None)
        self._wait_until(self._has_performed_all, deadline, least=0.0)
        if not self._stop.is_forced:
            self._announce_stop()
        for pipeline in self._pipelines:
            pipeline.close_outboxes()
        self._wait_until(lambda: _have_ended(self._finishers), deadline)
        self._apart.run(self._release_remaining)
        self._all_ended.request()
        # The thread that gave up a run may still be recovering it.
        self._wait_until(lambda: _have_ended(self._background), deadline=0.0)
        with suppress(QueueUnavailable):
            get_queue().deregister_worker(self.worker)
        connections.close_all()

    def _has_stopped_fetching(self) -> bool:
        # A fetcher that still waits would claim the messages that are returned below.
        with suppress(QueueUnavailable):
            get_queue().wake()
        # What a finisher is just starting is returned with what the fetchers have started.
        is_starting = any(pipeline.reserved for pipeline in self._pipelines)
        return not is_starting and _have_ended(self._fetching)

    def _wait_until(
        self, has_ended: Callable[[], bool], deadline: float, least: float = _THREAD_END_SECONDS
    ) -> None:
        """Wait until ``deadline`` or a forced stop, but for at least ``least`` seconds."""
        earliest = time.monotonic() + least
        while not has_ended():
            is_late = self._stop.is_forced or time.monotonic() >= deadline
            if is_late and time.monotonic() >= earliest:
                return
            time.sleep(_POLL_SECONDS)

    def _has_performed_all(self) -> bool:
        return not any(pipeline.held for pipeline in self._pipelines)

    def _announce_stop(self) -> None:
        """Let ``check_stop()`` raise in the functions that still run, and wait for them."""
        for run in self._leases.running():
            announce_stop(run.task, StopReason.WORKER_STOPPING)
        self._wait_until(self._has_performed_all, deadline=0.0, least=_STOP_SECONDS)

    def _release_remaining(self) -> None:
        for run in self._leases.running():
            request_stop(run.task, StopReason.WORKER_STOPPING)
        for pipeline in self._pipelines:
            self._return_runs(self._leases.running(pipeline), pipeline)

    def _return_runs(self, runs: list[Run], pipeline: ModelPipeline) -> None:
        if not runs:
            return
        in_each_database(partial(_release_in, runs=runs), {run.using for run in runs})
        self._leases.remove(runs)
        pipeline.discard(len(runs))


def _release_in(using: str, runs: list[Run]) -> None:
    try:
        release([run for run in runs if run.using == using], "worker_stopping")
    except Exception as error:
        # Their leases end, and recovery returns them.
        _logger.warning("release_failed tasks=%s error=%s", len(runs), error)


def _have_ended(threads: Iterable[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)

"""One child process of a node: the threads of every model, and an orderly end."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from django.db import connections

from .. import subscriptions
from ..conf.options import options
from ..context import acting_as
from ..db import clock
from ..exceptions import QueueUnavailable
from ..execution.finish import release
from ..execution.run import Run
from ..models.registry import databases_of
from ..models.task import SimpleTask
from ..queue import get_queue
from ..recovery import service
from .control_listener import ControlListener, stop_node
from .fetcher import Fetcher
from .finisher import Finisher
from .leases import Leases
from .loop import Loop, StopRequest
from .maintenance.jobs import MaintenanceLoop, database_jobs, redis_jobs, slow_jobs
from .maintenance.pacing import SharedSchedule
from .maintenance.snapshot import SharedSnapshot
from .node.counters import Counters
from .pipeline import ModelPipeline
from .task_thread import TaskThread
from .time_limits import TimeLimits
from .worker_report import WorkerReport

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_DISPATCH_SECONDS = 1.0
_PARENT_CHECK_SECONDS = 0.5
_THREAD_END_SECONDS = (
    1.0  # seconds in which threads bring to an end what they do, however urgent it is
)


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What a process is to do: models with their numbers of threads, and how."""

    threads: Sequence[tuple[type[SimpleTask], int]]
    schedule: SharedSchedule
    snapshot: SharedSnapshot = field(default_factory=SharedSnapshot)
    burst: bool = False
    predecessors: Sequence[tuple[str, int]] = field(default=())  # names and exit codes


class Process:
    """Runs a plan until it is asked to stop, or, in burst mode, until the queues are empty."""

    def __init__(
        self, plan: ProcessPlan, *, worker: str, stopping: StopRequest, counters: Counters
    ) -> None:
        self.worker = worker
        self._plan = plan
        self._stopping = stopping
        self._leases = Leases(worker)
        self._lanes = [ModelPipeline(model, threads, worker) for model, threads in plan.threads]
        # Leases and outcomes outlive the asking: they end when everything else has ended.
        self._over = StopRequest()
        self._bodies = [TaskThread(ln, i) for ln in self._lanes for i in range(ln.threads)]
        self._obedience = ControlListener(worker, plan.snapshot, partial(stop_node, os.getppid()))
        # What has just been calm is not any more.
        look = partial(plan.schedule.trigger, "recover_expired_leases")
        self._finishers = [Finisher(lane, self._leases, counters, look) for lane in self._lanes]
        self._fetchers = [
            Fetcher(
                lane,
                self._leases,
                stopping,
                burst=plan.burst,
                is_deaf=lambda: plan.schedule.read()["push_overdue"].failures > 0,
                is_paused=partial(self._obedience.is_paused, lane.model._meta.label),
            )
            for lane in self._lanes
        ]
        self._fetching = [
            Loop(f"fetcher-{lane.model._meta.label}", stopping, fetcher.step)
            for lane, fetcher in zip(self._lanes, self._fetchers, strict=True)
        ]
        self._actor = f"recovery {worker}"
        self._reports = WorkerReport(worker, self._lanes, self._leases, counters, plan.schedule)
        limits = TimeLimits(self._leases, self._give_up)
        self._background = [
            Loop("leases", self._over, lambda: self._leases.renew(self._lanes)),
            Loop("reports", self._over, self._reports.step),
            Loop("limits", self._over, limits.step),
            Loop("subscriptions", stopping, self._dispatch_outbox),
            Loop("obedience", stopping, self._obedience.step),
        ]
        self.must_be_replaced = self.has_failed = False
        groups = {
            "database": database_jobs(plan.schedule, plan.snapshot),
            "redis": redis_jobs(plan.snapshot),
            "slow": slow_jobs(lambda: not stopping.is_requested),
        }
        for name, chores in groups.items():
            actor = f"retention {worker}" if name == "slow" else self._actor
            step = MaintenanceLoop(chores, plan.schedule, actor).step
            self._background.append(Loop(f"chores-{name}", stopping, step))
        self._threads = [*self._finishers, *self._bodies, *self._background, *self._fetching]

    def run(self) -> None:
        """Work; returns when everything that was claimed is recorded or given back.

        ``has_failed`` tells that a thread died, without which this process is of no use.
        """
        parent = os.getppid()
        self._prepare()
        for thread in self._threads:
            thread.start()
        pace = _POLL_SECONDS if self._plan.burst else _PARENT_CHECK_SECONDS
        while not self._should_end(parent):
            self._stopping.wait(pace)
        if self._plan.burst and not self.has_failed:
            self._dispatch_remaining()
        self._stopping.request()
        self._shut_down()

    def _dispatch_outbox(self) -> float:
        """Tell durable subscribers what is due; the seconds until the next look."""
        told = subscriptions.deliver(
            worker=self.worker, may_go_on=lambda: not self._stopping.is_requested
        )
        return 0.0 if told else _DISPATCH_SECONDS

    def _dispatch_remaining(self) -> None:
        """What is due is told before a burst ends; what has to be tried again waits."""
        while self._dispatch_outbox() == 0.0:
            pass

    def _give_up(self, run: Run) -> None:
        """End this process for the sake of one body; the others are released unharmed."""
        self.must_be_replaced = True
        self._leases.remove([run])
        self._stopping.force()
        with acting_as(self._actor):
            service.recover_overrun(run.task, run.attempt)

    def _prepare(self) -> None:
        try:
            for lane in self._lanes:
                for using in databases_of(lane.model)[:1]:
                    clock.calibrate(using)
            with acting_as(self._actor):
                for worker, code in self._plan.predecessors:
                    service.recover_dead_workers([worker], exit_code=code)
                    subscriptions.release_dead_workers([worker])
                if self._plan.burst:
                    service.recover_all()
            self._obedience.check()
        except Exception as error:
            # Recovery by lease comes to the same, later.
            _logger.warning("prepare_failed worker=%s error=%s", self.worker, error)
        finally:
            connections.close_all()

    def _should_end(self, parent: int) -> bool:
        self.has_failed = self._has_lost_a_thread()
        if self.has_failed or self._stopping.is_requested or os.getppid() != parent:
            return True
        return self._plan.burst and self._is_drained()

    def _has_lost_a_thread(self) -> bool:
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        # In this order: stopping ends threads only after it was asked for.
        if not dead or self._stopping.is_requested:
            return False
        _logger.error("threads_died worker=%s threads=%s", self.worker, ",".join(dead))
        return True

    def _is_drained(self) -> bool:
        """Whether every queue was seen empty after the last task here had ended.

        A task may queue others in any lane, while it runs or when its outcome is announced.
        """
        if self._leases.running():
            return False
        last = max((lane.active_at for lane in self._lanes), default=0.0)
        return all(lane.empty_at > last for lane in self._lanes)

    def _shut_down(self) -> None:
        _logger.info("process_stopping worker=%s", self.worker)
        deadline = time.monotonic() + options.shutdown_grace
        self._await(self._has_stopped_fetching, deadline)
        for fetcher, thread in zip(self._fetchers, self._fetching, strict=True):
            fetcher.return_messages()
            if not thread.is_alive():
                fetcher.stop_waiting()
        for lane in self._lanes:
            self._return_runs(lane.drain_inbox(), lane)
            for _ in range(lane.threads):
                lane.inbox.put(None)
        self._await(lambda: not any(lane.held for lane in self._lanes), deadline, least=0.0)
        self._end_finishers(deadline)
        self._release_remaining()
        self._over.request()
        # The one that gave up a body may still be recording it.
        self._await(lambda: _have_ended(self._background), deadline=0.0)
        with suppress(QueueUnavailable):
            self._reports.deregister()
        connections.close_all()

    def _has_stopped_fetching(self) -> bool:
        # A fetcher that still waited would take what is given back below.
        with suppress(QueueUnavailable):
            get_queue().wake()
        return _have_ended(self._fetching)

    def _await(
        self, is_over: Callable[[], bool], deadline: float, least: float = _THREAD_END_SECONDS
    ) -> None:
        """Wait until ``deadline`` or until it is urgent, but in any case for ``least`` seconds."""
        earliest = time.monotonic() + least
        while not is_over():
            is_late = self._stopping.is_forced or time.monotonic() >= deadline
            if is_late and time.monotonic() >= earliest:
                return
            time.sleep(_POLL_SECONDS)

    def _end_finishers(self, deadline: float) -> None:
        for lane in self._lanes:
            lane.outbox.put(None)
        self._await(lambda: _have_ended(self._finishers), deadline)

    def _release_remaining(self) -> None:
        for run in self._leases.running():
            run.task.stop_flag().set()
        for lane in self._lanes:
            self._return_runs(self._leases.running(lane), lane)

    def _return_runs(self, runs: list[Run], lane: ModelPipeline) -> None:
        if not runs:
            return
        try:
            release(runs, "worker_stopping")
        except Exception as error:
            # Their leases end and recovery brings them back.
            _logger.warning("release_failed tasks=%s error=%s", len(runs), error)
        self._leases.remove(runs)
        lane.discard(len(runs))


def _have_ended(threads: Iterable[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)

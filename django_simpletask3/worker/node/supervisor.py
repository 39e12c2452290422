"""The parent of a node's processes: starts them, forwards signals, replaces dead ones."""

from __future__ import annotations

import math
import mmap
import os
import select
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.db import connections

from ...conf.leases import policy_of
from ...conf.options import options
from ...logs import get_logger
from ...models.task import SimpleTask
from ...recovery.lost_workers import LostProcess
from ...retries import Exponential
from ..loop import StopRequest
from ..maintenance.jobs import shared_schedule
from ..maintenance.snapshot import SharedSnapshot
from ..process import ProcessPlan
from ..watch.activity import Activity
from ..watch.child_watch import ChildWatch
from ..watch.observed_clock import ObservedClock
from ..watch.worker_name import worker_name
from .child import (
    CLEAN,
    FAILED,
    FORCED,
    GAVE_UP,
    HANDLED_SIGNALS,
    REPLACE,
    child_main,
    flush_streams,
)
from .counters import SIZE, Counters
from .descendants import adopt_orphans, children_of, kill_descendants
from .lone_tasks import LoneRequests, LoneTask
from .signal_pipe import drain, signal_pipe
from .status import Node

_logger = get_logger(__name__)

_TICK_SECONDS = 0.8
_HEALTHY_AFTER = 10.0
_MAX_FAILURES = 10  # quick deaths in a row after which a burst is given up
_MAX_PREDECESSORS = 10  # the tasks of earlier ones are recovered by their leases
#: The longest pause before a dead child is replaced. Its successor recovers its tasks, within a
#: second. A task that kills its workers is dropped after max_attempts; after this many quick
#: deaths in a row the cause is not a task, and a longer pause loses nothing.
_SHORT_PAUSE, _LONG_PAUSE = 0.5, 10.0
_FAILURES_BEFORE_LONG_PAUSE = 30
_ORPHAN_ROUNDS, _ORPHAN_SECONDS = 10, 0.1  # for the orphans of the last child
_KILL_DELAY = 5.0  # seconds after the grace period until a child that goes on is killed


Predecessors = Sequence[LostProcess]


@dataclass(slots=True)
class Child:
    """One child process, known by its slot."""

    slot: int
    pid: int
    worker: str
    began: float
    watch: ChildWatch
    failures: int = 0
    predecessors: Predecessors = ()


class Supervisor:
    """Runs ``processes`` children that share the threads of ``models``. Uses no database."""

    def __init__(
        self,
        models: Sequence[type[SimpleTask]],
        *,
        processes: int = 1,
        burst: bool = False,
        on_tick: Callable[[Node], None] = lambda node: None,
    ) -> None:
        self._schedule, snapshot = shared_schedule(processes), SharedSnapshot()
        threads = [threads_of_process(models, processes, slot) for slot in range(processes)]
        self._lone_requests = LoneRequests()
        #: The task that runs alone, and those of a burst that are to follow it.
        self._lone_task: LoneTask | None = None
        self._next_lone_tasks: list[LoneTask] = []
        #: Whether a task that ran alone has ended since a child of a burst last looked for others.
        self._must_drain = False
        plan = ProcessPlan(
            [], self._schedule, snapshot, burst=burst, run_alone=self._lone_requests.ask
        )
        self._plans = [replace(plan, threads=threads_there) for threads_there in threads]
        #: The slot of the child that runs a task alone, after those of the others.
        self._lone_slot = processes
        self._plans.append(replace(plan, burst=False, run_alone=None, is_lone=True))
        self._models = {model._meta.label: model for model in models}
        self._burst = burst
        self._on_tick = on_tick
        self._began, self._tick = time.time(), time.monotonic()
        self._replaced = 0
        self._is_last_started = False
        self._stop = StopRequest()
        self._memory = mmap.mmap(-1, SIZE * len(self._plans))
        self._children: dict[int, Child] = {}
        self._starts: list[tuple[float, int, Predecessors, int]] = []
        self._exit = CLEAN
        self._signals = 0
        self._deadline: float | None = None
        #: What processes get that a child left behind; None if there are none.
        self._orphan_signal: signal.Signals | None = None
        self._spared: frozenset[int] = frozenset()
        self._clock = ObservedClock()

    def run(self) -> int:
        """Run until stopped or, in burst mode, until no task is due; the exit code."""
        self._spared = frozenset(children_of(os.getpid()))
        adopt_orphans()
        with signal_pipe(self._receive_signal) as wakeup:
            for slot in range(self._lone_slot):
                self._start(slot, (), 0)
            while self._children or (self._starts and not self._stop.is_requested):
                requests = self._lone_requests.fileno()
                select.select([wakeup, requests], [], [], self._seconds_until_tick())
                drain(wakeup)
                self._handle_signals()
                self._reap()
                self._end_orphans()
                self._end_frozen()
                self._drain_again()
                self._start_last_child()
                self._start_due()
                self._start_lone_task()
                self._kill_overdue()
                self._on_tick(self.node())
        self._lone_requests.close()
        for _ in range(_ORPHAN_ROUNDS):
            if self._orphan_signal is not None:
                time.sleep(_ORPHAN_SECONDS)
                self._end_orphans()
        return self._exit

    def node(self) -> Node:
        """The current state of the node."""
        children = [c for c in self._children.values() if c.slot != self._lone_slot]
        counts_of_children = [Counters(self._memory, s).read() for s in range(len(self._plans))]
        return Node(
            began=self._began,
            tick=self._tick,
            processes=tuple(child.worker for child in children),
            missing=0 if self._stop.is_requested else self._lone_slot - len(children),
            silent=sum(child.watch.is_silent for child in children),
            replaced=self._replaced,
            counts={n: sum(c[n] for c in counts_of_children) for n in counts_of_children[0]},
            jobs=self._schedule.read(),
        )

    def _seconds_until_tick(self) -> float:
        """Seconds until the next tick, which is earlier if a child is to be started."""
        if self._stop.is_requested:
            return _TICK_SECONDS  # no child is started any more
        next_start = min((moment for moment, *_ in self._starts), default=math.inf)
        return min(_TICK_SECONDS, max(0.0, next_start - time.monotonic()))

    def _receive_signal(self) -> None:
        """Count a signal. Called in a signal handler; the loop acts on the count."""
        self._signals += 1

    def _handle_signals(self) -> None:
        if self._signals and not self._stop.is_requested:
            _logger.info("node_stopping grace=%s", options.shutdown_grace)
            self._deadline = time.monotonic() + options.shutdown_grace + _KILL_DELAY
            self._stop.request()
            self._forward(signal.SIGTERM)
        if self._signals > 1 and not self._stop.is_forced:
            _logger.info("node_stopping grace=0")
            self._stop.force()
            self._forward(signal.SIGQUIT)

    def _forward(self, number: int) -> None:
        for child in self._children.values():
            _send(child.pid, number)

    def _start(
        self,
        slot: int,
        predecessors: Predecessors,
        failures: int,
        lone_task: LoneTask | None = None,
    ) -> str:
        """Start the child of ``slot``; the name of its worker."""
        close_connections()
        flush_streams()
        token = uuid.uuid4().hex[:8]
        plan = self._plans[slot]
        if lone_task is not None:
            plan = replace(plan, threads=[(self._models[lone_task.label], 1)], lone_task=lone_task)
        watch = _watch_of(plan)
        plan = replace(
            plan,
            predecessors=predecessors,
            activity=watch.activity,
            traces=watch.traces.fileno() if watch.traces else None,
        )
        # A signal between fork and the child's own handlers would run the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
        pid = os.fork()
        if pid == 0:
            child_main(plan, worker_name(os.getpid(), token), Counters(self._memory, slot))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        worker = worker_name(pid, token)
        began = time.monotonic()
        self._children[pid] = Child(slot, pid, worker, began, watch, failures, predecessors)
        return worker

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._orphan_signal = signal.SIGTERM
                self._handle_exit(child, os.waitstatus_to_exitcode(status))
                child.watch.close()

    def _handle_exit(self, child: Child, code: int) -> None:
        is_lone = child.slot == self._lone_slot
        if is_lone:
            # The successor of one that died recovers its task, which is asked for again then.
            self._lone_task = None
            self._must_drain = self._burst
        if code == CLEAN and (is_lone or self._burst or self._stop.is_requested):
            return
        if self._stop.is_requested:
            if code != REPLACE:
                self._exit = FORCED
                child.watch.lost_process(child.worker, code)  # logs its traces
            return
        if code in (REPLACE, GAVE_UP):
            self._handle_intended_exit(child.slot, code)
            return
        lost_process = child.watch.lost_process(child.worker, code)
        self._replaced += 1
        lived = time.monotonic() - child.began
        failures = 0 if lived > _HEALTHY_AFTER else child.failures + 1
        # A child that died early may not have recovered the tasks of its predecessors.
        before = child.predecessors if failures else ()
        predecessors = (*before, lost_process)[-_MAX_PREDECESSORS:]
        _logger.error("child_died worker=%s exit=%s seconds=%.1f", child.worker, code, lived)
        if self._burst and failures > _MAX_FAILURES:
            self._exit = FAILED
            return
        # Replace at once after a first death, more slowly after repeated quick ones.
        longest = _SHORT_PAUSE if failures < _FAILURES_BEFORE_LONG_PAUSE else _LONG_PAUSE
        pause = 0.0 if failures <= 1 else Exponential(first=0.05, maximum=longest)(failures)
        self._starts.append((time.monotonic() + pause, child.slot, predecessors, failures))

    def _handle_intended_exit(self, slot: int, code: int) -> None:
        if code == GAVE_UP:
            self._exit = FAILED
        elif slot != self._lone_slot:
            self._starts.append((0.0, slot, (), 0))

    def _end_orphans(self) -> None:
        """End the processes that a task started and that outlived their worker."""
        if self._orphan_signal is not None:
            found = kill_descendants(self._orphan_signal, {*self._children, *self._spared})
            self._orphan_signal = signal.SIGKILL if found else None

    def _end_frozen(self) -> None:
        """End children whose interpreter is held by a task."""
        seconds = self._clock.tick()
        for child in self._children.values():
            child.watch.step(child.pid, child.worker, self._clock, seconds)

    def _start_due(self) -> None:
        if self._stop.is_requested:
            return
        now = time.monotonic()
        due = [start for start in self._starts if start[0] <= now]
        self._starts = [start for start in self._starts if start[0] > now]
        for _, slot, predecessors, failures in due:
            self._start(slot, predecessors, failures)

    def _drain_again(self) -> None:
        """Start a child of a burst again, if none is left: a task that ran alone has ended.

        One that is left may have looked for tasks before that.
        """
        slots = [child.slot for child in self._children.values()]
        slots += [slot for _, slot, _, _ in self._starts]
        is_left = any(slot != self._lone_slot for slot in slots)
        if self._must_drain and not (is_left or self._stop.is_requested or self._exit):
            self._must_drain = False
            self._starts.append((0.0, 0, (), 0))

    def _start_last_child(self) -> None:
        """After the children of a burst, start one that serves all models.

        The last of them may have enqueued tasks of models that only the others served.
        """
        is_over = not (self._children or self._starts or self._stop.is_requested or self._exit)
        if self._burst and self._lone_slot > 1 and is_over and not self._is_last_started:
            self._is_last_started = True
            threads = [(model, 1) for model in self._models.values()]
            self._plans[0] = replace(self._plans[0], threads=threads)
            self._starts.append((0.0, 0, (), 0))

    def _start_lone_task(self) -> None:
        """Start a task that must run alone, if no other does.

        The others are asked for again; in a burst they are remembered, since the process that asked
        may end before this one.
        """
        requests = dict.fromkeys([*self._next_lone_tasks, *self._lone_requests.read()])
        self._next_lone_tasks = []
        for task in requests:
            slots = {child.slot for child in self._children.values()}
            slots.update(slot for _, slot, _, _ in self._starts)
            if self._lone_slot not in slots and not self._stop.is_requested:
                self._lone_task = task
                worker = self._start(self._lone_slot, (), 0, task)
                _logger.warning(
                    "task_runs_alone model=%s pk=%s worker=%s", task.label, task.key, worker
                )
            elif self._burst and task != self._lone_task:
                self._next_lone_tasks.append(task)

    def _kill_overdue(self) -> None:
        """Kill children that still run after the grace period."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._exit = FORCED
            for child in self._children.values():
                _send(child.pid, signal.SIGKILL)


def threads_of_process(
    models: Sequence[type[SimpleTask]], processes: int, slot: int
) -> list[tuple[type[SimpleTask], int]]:
    """The models of process ``slot`` with its share of the node's threads for each."""
    shares = []
    for index, model in enumerate(models):
        total = model.get_worker_number()
        threads = total // processes + ((slot - index) % processes < total % processes)
        if threads:
            shares.append((model, threads))
    return shares


def _watch_of(plan: ProcessPlan) -> ChildWatch:
    leases = [policy_of(model.get_event_channel()).lease for model, _ in plan.threads]
    return ChildWatch(Activity(plan.records), min(leases, default=math.inf))


def close_connections() -> None:
    """Close all database sockets before a fork, those in connection pools too."""
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        if close_pool := getattr(connection, "close_pool", None):
            close_pool()


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

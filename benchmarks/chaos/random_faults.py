"""Inject faults at random moments, then repair everything and drain the queues."""

import contextlib
import heapq
import itertools
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from django.db import DatabaseError, InterfaceError, connections

from benchmarks.chaos import processes, storm_schedules
from benchmarks.chaos.database_faults import DatabaseFaults
from benchmarks.chaos.environment import Environment
from benchmarks.chaos.node_lives import NodeLives
from benchmarks.chaos.producers import count_unfinished
from django_simpletask3.conf.options import options

_RESTART_DELAY = 0.3
#: Seconds in which all nodes together fire the ticks that faults have held up.
_CATCH_UP_PATIENCE = 70.0
_MAX_MEMORY = 1  # bytes: every write is refused
#: Seconds in which a task must end while the queues are drained. A task that was lost often waits
#: for up to 60 s; how long all of them take depends on the machine.
_DRAIN_PATIENCE = 100.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Processes that were sent SIGKILL together."""

    time: float
    target: str
    pids: tuple[int, ...]


@dataclass(slots=True)
class FaultLog:
    """The faults that were injected, and the anomalies that were seen."""

    kills: list[Kill] = field(default_factory=list)
    outages: list[tuple[float, float, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    exit_codes: Counter[str] = field(default_factory=Counter)
    anomalies: list[str] = field(default_factory=list)
    dead_pids: set[int] = field(default_factory=set)  # processes that could not record an outcome
    lives: NodeLives = field(default_factory=NodeLives)
    schedules_ended: datetime | None = None

    @property
    def kill_count(self) -> int:
        """The number of processes that were killed."""
        return sum(len(kill.pids) for kill in self.kills)


class FaultInjector:
    """Run nodes and producers, restart them, and inject faults into them."""

    def __init__(
        self,
        environment: Environment,
        seed: int,
        *,
        nodes: int = 3,
        producers: int = 2,
        earlier: Path | None = None,
    ) -> None:
        self.environment = environment
        self.random = random.Random(seed)
        self.log = FaultLog()
        self.database = DatabaseFaults()
        self._number = itertools.count(1)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._stopping: list[processes.ManagedProcess] = []
        self._frozen: set[int] = set()
        self._orphans: set[int] = set()
        self._redis_until = 0.0
        self._restart_at: dict[int, float] = {}
        self.nodes: list[processes.ManagedProcess | None] = [None] * nodes
        #: The folder of an earlier version of the package, and the nodes that run it.
        self.earlier = earlier
        self._of_earlier: set[int] = set()
        self._hosts = [f"machine-{next(self._number)}" for _ in range(nodes)]
        self.producers: list[processes.ManagedProcess | None] = [None] * producers
        #: How often each fault is injected in a shuffled round. Outages are rare, so that recovery
        #: can be measured between them.
        self._weights: dict[Callable[[], None], int] = {
            self.kill_child: 100,
            self.kill_node: 14,
            self.kill_supervisor: 8,
            self.kill_producer: 6,
            self.freeze_child: 5,
            self.freeze_node: 2,
            self.restart_node: 8,
            self.crash_redis: 1,
            self.empty_redis: 1,
            self.forget_scripts: 1,
            self.freeze_redis: 1,
            self.cut_redis: 2,
            self.refuse_writes: 1,
            self.fill_redis: 1,
            self.cut_database: 2,
            self.lock_rows: 3,
            **({self.deploy_node: 12} if earlier else {}),
        }
        self._round: list[Callable[[], None]] = []

    def inject_faults(self, seconds: float, *, rate: float) -> None:
        """Inject ``rate`` faults per second, for ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.restart_ended()
            self._run_due_actions()
            fault = self._next_fault()
            fault()
            self.log.faults[fault.__name__] += 1
            time.sleep(self.random.expovariate(rate))

    def _next_fault(self) -> Callable[[], None]:
        """Return the next fault of a shuffled round, so that short runs have some of each kind."""
        if not self._round:
            self._round = [fault for fault, count in self._weights.items() for _ in range(count)]
            self.random.shuffle(self._round)
        return self._round.pop()

    def heal_and_drain(self, patience: float = _DRAIN_PATIENCE) -> int:
        """Repair all faults, stop the producers, and wait until no task is unfinished.

        Return the number of tasks left when none has ended for ``patience`` seconds, else 0.
        """
        while self._later:
            self._later[0][2]()
            heapq.heappop(self._later)
        producers = [producer for producer in self.producers if producer]
        for producer in producers:
            producer.stop()
        for producer in producers:
            if not producer.wait(timeout=30):
                self.log.anomalies.append(f"{producer.name} did not end within 30 s")
                producer.kill_all()
        self.producers = []
        self._stop_schedules()
        return self._drain(patience)

    def _stop_schedules(self) -> None:
        """Let no further tick be fired, once those that were held up are."""
        end = time.monotonic() + _CATCH_UP_PATIENCE
        while self.log.schedules_ended is None:
            self.restart_ended()
            with contextlib.suppress(DatabaseError, InterfaceError):
                if storm_schedules.are_caught_up() or time.monotonic() > end:
                    self.log.schedules_ended = storm_schedules.stop()
            time.sleep(0.2)

    def stop_nodes(self) -> None:
        """Stop the nodes with SIGTERM and wait for their ends."""
        nodes = [node for node in (*self.nodes, *self._stopping) if node]
        for node in nodes:
            node.stop()
        for node in nodes:
            self._wait_for_end(node)
        self.nodes = []

    def kill_all(self) -> None:
        """Kill every process that is left."""
        self.database.close()
        processes.send_signal(self._frozen, signal.SIGCONT)
        processes.send_signal(self._orphans, signal.SIGKILL)
        for process in filter(None, (*self.nodes, *self.producers, *self._stopping)):
            process.kill_all()

    def restart_ended(self) -> None:
        """Restart the nodes and producers that have ended."""
        self.log.lives.see(self._children(), time.time())
        for index, node in enumerate(self.nodes):
            if self._needs_restart(node, index):
                self.nodes[index] = self._start_node(index)
        for index, producer in enumerate(self.producers):
            if producer is None or not producer.is_running:
                self._note_end(producer)
                seed = self.random.randrange(2**32)
                self.producers[index] = processes.start_producer(f"producer-{index}", seed)
        self._stopping = [node for node in self._stopping if not self._has_stopped(node)]

    def _start_node(self, index: int) -> processes.ManagedProcess:
        earlier = self.earlier if index in self._of_earlier else None
        return processes.start_node(f"node-{index}", host=self._hosts[index], earlier=earlier)

    def _needs_restart(self, node: processes.ManagedProcess | None, index: int) -> bool:
        if node is not None and node.is_running:
            return False
        self._note_end(node)
        self.nodes[index] = None
        restart_at = self._restart_at.setdefault(index, time.monotonic() + _RESTART_DELAY)
        if time.monotonic() < restart_at:
            return False
        del self._restart_at[index]
        return True

    def _has_stopped(self, node: processes.ManagedProcess) -> bool:
        if node.is_running:
            return False
        self._note_end(node)
        return True

    def _note_end(self, process: processes.ManagedProcess | None) -> None:
        if process is None:
            return
        code = process.exit_code
        self.log.exit_codes[str(code)] += 1
        if not process.is_expected_to_end:
            self.log.anomalies.append(f"{process.name} ended by itself with {code}")

    # Kills.

    def kill_child(self) -> None:
        if children := self._children():
            self._kill("child", [self.random.choice(children)])

    def kill_supervisor(self) -> None:
        if node := self._node():
            node.is_expected_to_end = True
            children = node.children()
            self.log.dead_pids.update(children)
            self._kill("supervisor", [node.pid])
            node.wait()
            self._orphans.update(children)
            self._after(8.0, lambda: self._end_orphans(children))

    def _end_orphans(self, pids: list[int]) -> None:
        processes.send_signal(pids, signal.SIGKILL)
        self._orphans.difference_update(pids)

    def kill_node(self) -> None:
        """Kill a node; half of the time it comes back under another host name."""
        if node := self._node():
            target, now = "node", time.time()
            if self.random.random() < 0.5:
                target = "machine"
                self._hosts[self.nodes.index(node)] = f"machine-{next(self._number)}"
            self.log.kills.append(Kill(now, target, tuple(node.kill_all())))
            self.log.dead_pids.update(self.log.kills[-1].pids)

    def kill_producer(self) -> None:
        producer = self.random.choice(self.producers)
        if producer and producer.is_running:
            producer.is_expected_to_end = True
            self._kill("producer", [producer.pid])
            producer.wait()

    def _kill(self, target: str, pids: list[int]) -> None:
        self.log.dead_pids.update(pids)
        self.log.kills.append(Kill(time.time(), target, tuple(pids)))
        processes.send_signal(pids, signal.SIGKILL)

    # Processes that continue or restart.

    def freeze_child(self) -> None:
        if children := self._children():
            self._freeze([self.random.choice(children)])

    def freeze_node(self) -> None:
        if node := self._node():
            self._freeze(node.members())

    def restart_node(self) -> None:
        if node := self._node():
            self.restart(node)

    def restart(self, node: processes.ManagedProcess) -> None:
        """Stop a node, and start another one in its place."""
        self.log.dead_pids.update(node.children())
        node.stop()
        if self.random.random() < 0.3:
            self._after(0.5, lambda: processes.send_signal([node.pid], signal.SIGTERM))
        self._stopping.append(node)
        self.nodes[self.nodes.index(node)] = None

    def deploy_node(self) -> None:
        """Stop a node, and start it with the other version of the package."""
        if node := self._node():
            self._of_earlier ^= {self.nodes.index(node)}
            self.restart(node)

    def _freeze(self, pids: list[int]) -> None:
        for pid in pids:
            self.log.lives.frozen[pid].append(time.time())
        processes.send_signal(pids, signal.SIGSTOP)
        self._frozen.update(pids)

        def thaw() -> None:
            processes.send_signal(pids, signal.SIGCONT)
            self._frozen.difference_update(pids)

        self._after(options.simq_running_timeout + self.random.uniform(0.5, 2.5), thaw)

    # Redis.

    def crash_redis(self) -> None:
        """Kill Redis; it restarts empty."""
        if self._redis_is_up():
            self.environment.redis_server.kill()
            self._restore_redis(
                self.random.uniform(0.2, 3.0), self.environment.redis_server.start, "redis"
            )

    def freeze_redis(self) -> None:
        if self._redis_is_up():
            self.environment.redis_server.freeze()
            self._restore_redis(
                self.random.uniform(1.0, 4.0), self.environment.redis_server.thaw, "redis"
            )

    def empty_redis(self) -> None:
        self._send_to_redis(lambda client: client.flushall())
        self._note_outage(0.0, "redis")

    def forget_scripts(self) -> None:
        self._send_to_redis(lambda client: client.script_flush())

    def cut_redis(self) -> None:
        self._send_to_redis(lambda client: client.client_kill_filter(_type="normal"))

    def refuse_writes(self) -> None:
        """Refuse writes as a replica does (READONLY); the data stays."""
        self._refuse(lambda client: client.replicaof("127.0.0.1", 1), "REPLICAOF NO ONE")

    def fill_redis(self) -> None:
        """Refuse writes because the memory is full (OOM)."""
        fill = lambda client: client.config_set("maxmemory", _MAX_MEMORY)  # noqa: E731
        self._refuse(fill, "CONFIG SET maxmemory 0")

    def _refuse(self, command: Callable[[Any], Any], repair: str) -> None:
        if not self._redis_is_up():
            return
        self._send_to_redis(command)

        def heal() -> None:
            with self.environment.redis(socket_timeout=5) as client:
                client.execute_command(*repair.split())

        self._restore_redis(self.random.uniform(0.5, 3.0), heal, "redis")

    def _send_to_redis(self, command: Callable[[Any], Any]) -> None:
        if self._redis_is_up():
            with self.environment.redis(socket_timeout=2) as client:
                try:
                    command(client)
                except redis.RedisError as error:
                    self.log.anomalies.append(f"redis: {error}")

    def _redis_is_up(self) -> bool:
        return time.monotonic() >= self._redis_until

    def _restore_redis(self, seconds: float, restore: Callable[[], Any], target: str) -> None:
        self._redis_until = time.monotonic() + seconds + 30.0
        self._note_outage(seconds, target)

        def finish() -> None:
            restore()
            self._redis_until = 0.0

        self._after(seconds, finish)

    # The database.

    def cut_database(self) -> None:
        if self.database.vendor == "sqlite":
            seconds = self.random.uniform(1.0, 7.0)
            try:
                self.database.lock_database()
            except Exception as error:  # it stays locked by another writer
                self.log.anomalies.append(f"lock: {error}")
                return
            self._note_outage(seconds, "database")
            self._after(seconds, self.database.unlock_database)
        else:
            self._note_outage(0.5, "database")
            self.database.cut_connections(self.random)

    def lock_rows(self) -> None:
        """Lock rows in a long transaction (SQLite has no row locks)."""
        if self.database.vendor == "sqlite":
            return
        try:
            end = self.database.lock_rows()
        except (DatabaseError, InterfaceError) as error:
            self.log.anomalies.append(f"rows: {error}")
            return
        seconds = self.random.uniform(1.0, 5.0)
        self._note_outage(seconds, "rows")
        self._after(seconds, end)

    def _note_outage(self, seconds: float, target: str) -> None:
        now = time.time()
        self.log.outages.append((now, now + seconds, target))
        self.log.lives.outages = self.log.outages

    # Scheduling.

    def _node(self) -> processes.ManagedProcess | None:
        running = [
            node for node in self.nodes if node and node.is_running and not node.is_expected_to_end
        ]
        return self.random.choice(running) if running else None

    def _children(self) -> list[int]:
        return [pid for node in self.nodes if node for pid in node.children()]

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), action))

    def _run_due_actions(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    def _drain(self, patience: float) -> int:
        fewest, end = sys.maxsize, time.monotonic() + patience
        while fewest and time.monotonic() < end:
            self.restart_ended()
            try:
                count = count_unfinished()
            except (DatabaseError, InterfaceError):
                connections.close_all()
            else:
                if count < fewest:
                    fewest, end = count, time.monotonic() + patience
            time.sleep(0.3)
        return fewest

    def _wait_for_end(self, node: processes.ManagedProcess) -> None:
        if not node.wait(timeout=30):
            self.log.anomalies.append(f"{node.name} did not end within 30 s")
            node.kill_all()
        if node.exit_code:
            self.log.anomalies.append(f"{node.name} ended with {node.exit_code}")
        self._note_end(node)

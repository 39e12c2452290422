"""The storm: faults at seeded random instants, for a while, then calm."""

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from benchmarks.chaos import processes
from benchmarks.chaos.database_faults import DatabaseFaults
from benchmarks.chaos.environment import Environment
from benchmarks.chaos.producers import count_unfinished

_REST_OF_A_NODE = 0.3
_SCRATCH_MEMORY = 1  # bytes: every write is refused


@dataclass(frozen=True, slots=True)
class Kill:
    """Processes that were sent SIGKILL together."""

    time: float
    what: str
    pids: tuple[int, ...]


@dataclass(slots=True)
class FaultLog:
    """What was done to the fleet."""

    kills: list[Kill] = field(default_factory=list)
    outages: list[tuple[float, float, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    exit_codes: Counter[str] = field(default_factory=Counter)
    anomalies: list[str] = field(default_factory=list)
    dead_pids: set[int] = field(default_factory=set)  # processes that could not record an outcome

    @property
    def kill_count(self) -> int:
        """How many processes were killed."""
        return sum(len(kill.pids) for kill in self.kills)


class FaultInjector:
    """Keeps a fleet alive and hurts it."""

    def __init__(
        self, environment: Environment, seed: int, *, nodes: int = 3, producers: int = 2
    ) -> None:
        self.environment = environment
        self.random = random.Random(seed)
        self.log = FaultLog()
        self.database = DatabaseFaults()
        self._number = itertools.count(1)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._leaving: list[processes.ManagedProcess] = []
        self._frozen: set[int] = set()
        self._orphans: set[int] = set()
        self._redis_until = 0.0
        self._rests: dict[int, float] = {}
        self.nodes: list[processes.ManagedProcess | None] = [None] * nodes
        self._hosts = [f"machine-{next(self._number)}" for _ in range(nodes)]
        self.producers: list[processes.ManagedProcess | None] = [None] * producers
        #: How often each fault occurs in a round of a minute; outages are rare enough to
        #: let recovery be seen between them.
        self._menu: dict[Callable[[], None], int] = {
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
            self.hold_rows: 3,
        }
        self._deck: list[Callable[[], None]] = []

    def inject_faults(self, seconds: float, *, rate: float) -> None:
        """Hurt the fleet for ``seconds``, ``rate`` times a second."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.restart_ended()
            self._do_later()
            fault = self._next()
            fault()
            self.log.faults[fault.__name__] += 1
            time.sleep(self.random.expovariate(rate))

    def _next(self) -> Callable[[], None]:
        """The fault on top of a shuffled deck: a short storm, too, has some of everything."""
        if not self._deck:
            self._deck = [fault for fault, count in self._menu.items() for _ in range(count)]
            self.random.shuffle(self._deck)
        return self._deck.pop()

    def heal_and_drain(self, patience: float) -> bool:
        """Heal everything, stop the producers, and wait until the work is done; whether it is."""
        while self._later:
            self._later[0][2]()
            heapq.heappop(self._later)
        makers = [maker for maker in self.producers if maker]
        for maker in makers:
            maker.stop()
        for maker in makers:
            if not maker.wait(timeout=30):
                self.log.anomalies.append(f"{maker.name} did not end within 30 s")
                maker.kill_all()
        self.producers = []
        return self._drained(patience)

    def stop_nodes(self) -> None:
        """Let the nodes end in good order."""
        fleet = [node for node in (*self.nodes, *self._leaving) if node]
        for node in fleet:
            node.stop()
        for node in fleet:
            self._await_end(node)
        self.nodes = []

    def kill_all(self) -> None:
        """Whatever happened, leave no process behind."""
        self.database.close()
        processes.send_signal(self._frozen, signal.SIGCONT)
        processes.send_signal(self._orphans, signal.SIGKILL)
        for actor in filter(None, (*self.nodes, *self.producers, *self._leaving)):
            actor.kill_all()

    def restart_ended(self) -> None:
        """Start again what has ended."""
        for index, node in enumerate(self.nodes):
            if self._is_missing(node, index):
                self.nodes[index] = processes.start_node(f"node-{index}", host=self._hosts[index])
        for index, maker in enumerate(self.producers):
            if maker is None or not maker.is_running:
                self._note_end(maker)
                seed = self.random.randrange(2**32)
                self.producers[index] = processes.start_producer(f"producer-{index}", seed)
        self._leaving = [node for node in self._leaving if not self._has_left(node)]

    def _is_missing(self, node: processes.ManagedProcess | None, index: int) -> bool:
        if node is not None and node.is_running:
            return False
        self._note_end(node)
        self.nodes[index] = None
        rested = self._rests.setdefault(index, time.monotonic() + _REST_OF_A_NODE)
        if time.monotonic() < rested:
            return False
        del self._rests[index]
        return True

    def _has_left(self, node: processes.ManagedProcess) -> bool:
        if node.is_running:
            return False
        self._note_end(node)
        return True

    def _note_end(self, actor: processes.ManagedProcess | None) -> None:
        if actor is None:
            return
        code = actor.exit_code
        self.log.exit_codes[str(code)] += 1
        if not actor.is_expected_to_end:
            self.log.anomalies.append(f"{actor.name} ended by itself with {code}")

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
        """A node loses its power; every other time its machine is gone for ever."""
        if node := self._node():
            what, now = "node", time.time()
            if self.random.random() < 0.5:
                what = "machine"
                self._hosts[self.nodes.index(node)] = f"machine-{next(self._number)}"
            self.log.kills.append(Kill(now, what, tuple(node.kill_all())))
            self.log.dead_pids.update(self.log.kills[-1].pids)

    def kill_producer(self) -> None:
        maker = self.random.choice(self.producers)
        if maker and maker.is_running:
            maker.is_expected_to_end = True
            self._kill("producer", [maker.pid])
            maker.wait()

    def _kill(self, what: str, pids: list[int]) -> None:
        self.log.dead_pids.update(pids)
        self.log.kills.append(Kill(time.time(), what, tuple(pids)))
        processes.send_signal(pids, signal.SIGKILL)

    # What comes back.

    def freeze_child(self) -> None:
        if children := self._children():
            self._freeze([self.random.choice(children)])

    def freeze_node(self) -> None:
        if node := self._node():
            self._freeze(node.members())

    def restart_node(self) -> None:
        if node := self._node():
            self.log.dead_pids.update(node.children())
            node.stop()
            if self.random.random() < 0.3:
                self._after(0.5, lambda: processes.send_signal([node.pid], signal.SIGTERM))
            self._leaving.append(node)
            self.nodes[self.nodes.index(node)] = None

    def _freeze(self, pids: list[int]) -> None:
        processes.send_signal(pids, signal.SIGSTOP)
        self._frozen.update(pids)

        def thaw() -> None:
            processes.send_signal(pids, signal.SIGCONT)
            self._frozen.difference_update(pids)

        self._after(settings.LEASE + self.random.uniform(0.5, 2.5), thaw)

    # Redis.

    def crash_redis(self) -> None:
        """Killed; it comes back empty."""
        if self._redis_is_up():
            self.environment.redis_server.kill()
            self._redis_back(
                self.random.uniform(0.2, 3.0), self.environment.redis_server.start, "redis"
            )

    def freeze_redis(self) -> None:
        if self._redis_is_up():
            self.environment.redis_server.freeze()
            self._redis_back(
                self.random.uniform(1.0, 4.0), self.environment.redis_server.thaw, "redis"
            )

    def empty_redis(self) -> None:
        self._tell_redis(lambda client: client.flushall())
        self._note_outage(0.0, "redis")

    def forget_scripts(self) -> None:
        self._tell_redis(lambda client: client.script_flush())

    def cut_redis(self) -> None:
        self._tell_redis(lambda client: client.client_kill_filter(_type="normal"))

    def refuse_writes(self) -> None:
        """As a master does that has become a replica: READONLY, and nothing is forgotten."""
        self._refuse(lambda client: client.replicaof("127.0.0.1", 1), "REPLICAOF NO ONE")

    def fill_redis(self) -> None:
        """No memory is left and nothing may be evicted: OOM."""
        full = lambda client: client.config_set("maxmemory", _SCRATCH_MEMORY)  # noqa: E731
        self._refuse(full, "CONFIG SET maxmemory 0")

    def _refuse(self, command: Callable[[Any], Any], remedy: str) -> None:
        if not self._redis_is_up():
            return
        self._tell_redis(command)

        def heal() -> None:
            with self.environment.redis(socket_timeout=5) as client:
                client.execute_command(*remedy.split())

        self._redis_back(self.random.uniform(0.5, 3.0), heal, "redis")

    def _tell_redis(self, command: Callable[[Any], Any]) -> None:
        if self._redis_is_up():
            with self.environment.redis(socket_timeout=2) as client:
                try:
                    command(client)
                except redis.RedisError as error:
                    self.log.anomalies.append(f"redis: {error}")

    def _redis_is_up(self) -> bool:
        return time.monotonic() >= self._redis_until

    def _redis_back(self, seconds: float, back: Callable[[], Any], what: str) -> None:
        self._redis_until = time.monotonic() + seconds + 30.0
        self._note_outage(seconds, what)

        def again() -> None:
            back()
            self._redis_until = 0.0

        self._after(seconds, again)

    # The database.

    def cut_database(self) -> None:
        if self.database.vendor == "sqlite":
            seconds = self.random.uniform(1.0, 7.0)
            try:
                self.database.lock_database()
            except Exception as error:  # busy beyond patience: fault enough
                self.log.anomalies.append(f"lock: {error}")
                return
            self._note_outage(seconds, "database")
            self._after(seconds, self.database.unlock_database)
        else:
            self._note_outage(0.5, "database")
            self.database.cut_connections(self.random)

    def hold_rows(self) -> None:
        """A long transaction has locked rows (SQLite has no such locks)."""
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

    def _note_outage(self, seconds: float, what: str) -> None:
        now = time.time()
        self.log.outages.append((now, now + seconds, what))

    # Time.

    def _node(self) -> processes.ManagedProcess | None:
        running = [
            node for node in self.nodes if node and node.is_running and not node.is_expected_to_end
        ]
        return self.random.choice(running) if running else None

    def _children(self) -> list[int]:
        return [pid for node in self.nodes if node for pid in node.children()]

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), act))

    def _do_later(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    def _drained(self, patience: float) -> bool:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            self.restart_ended()
            try:
                if count_unfinished() == 0:
                    return True
            except (DatabaseError, InterfaceError):
                connections.close_all()
            time.sleep(0.3)
        return False

    def _await_end(self, node: processes.ManagedProcess) -> None:
        if not node.wait(timeout=30):
            self.log.anomalies.append(f"{node.name} did not end within 30 s")
            node.kill_all()
        if node.exit_code:
            self.log.anomalies.append(f"{node.name} ended with {node.exit_code}")
        self._note_end(node)

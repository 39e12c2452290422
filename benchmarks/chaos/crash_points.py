"""Deterministic deaths: the same way again and again, each time one step longer, to its end.

Forks of this process run each way. The process that dies has taken ``k`` steps (commands answered
by Redis, statements and commits of the database); then a healthy node drains, and the invariants
of its tasks are checked.
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections

from benchmarks.chaos import execution_log
from benchmarks.chaos.environment import Environment
from benchmarks.chaos.invariants import CheckResult, check_invariants, find_leaks
from benchmarks.chaos.models import Job, Parcel
from benchmarks.chaos.producers import count_unfinished
from django_simpletask3.exceptions import SimpleTaskError
from django_simpletask3.queue import get_queue, reset_queue
from django_simpletask3.recovery import service
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import Status
from django_simpletask3.worker.node.supervisor import Supervisor
from tests.chaos import crash_injection
from tests.chaos.crash_injection import ALONE, DEAF, MORTALITY, TOGETHER

_LONGEST = 400  # steps; a way that is longer goes round in circles
_PATIENCE = 30.0
_LOOK = 0.01


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a mortal process does, and what others do meanwhile (they get its pid)."""

    target: Callable[[], object]
    meanwhile: Callable[[int], object] = lambda pid: None
    fate: int = TOGETHER


def _watch(**_: Any) -> None:
    """A receiver in the transaction of an event adds a way with more steps."""


# Of parcels; jobs have no receivers.
event_recorded.connect(_watch, sender=Parcel)


def run_node(*, burst: bool) -> None:
    """Be a node of one process."""
    Supervisor([Job, Parcel], burst=burst).run()


def burst_child() -> Scenario:
    """A child dies, its supervisor lives."""
    _tasks_of_all_kinds()
    return Scenario(lambda: run_node(burst=True), fate=ALONE)


def burst_node() -> Scenario:
    """The whole node dies at once."""
    _tasks_of_all_kinds()
    return Scenario(lambda: run_node(burst=True))


def retried() -> Scenario:
    """A body raises and is tried again."""
    Parcel.objects.create(fails=True)
    return Scenario(lambda: run_node(burst=True))


def deaf_node() -> Scenario:
    """No process dies; the answer to one step is lost."""
    _tasks_of_all_kinds()
    return Scenario(lambda: run_node(burst=True), fate=DEAF)


def deaf_producer() -> Scenario:
    """No process dies; the answer to one step is lost, and the caller goes on."""
    return replace(producer(), fate=DEAF)


def deaf_recoverer() -> Scenario:
    """No process dies; the answer to one step of recovery is lost."""
    return replace(recoverer(), fate=DEAF)


def waiting_node() -> Scenario:
    """A node that waits for messages is given some, and is stopped."""

    def meanwhile(pid: int) -> None:
        _until(_is_awaited)
        tasks = [Job.objects.create(), Job.objects.create(fails=True)]
        _until(lambda: all(_status(task).is_final for task in tasks))
        os.kill(pid, signal.SIGTERM)

    return Scenario(lambda: run_node(burst=False), meanwhile)


def stopped_node() -> Scenario:
    """A node is stopped while tasks run, of which one will not end in time."""
    tasks = [Job.objects.create(seconds=seconds) for seconds in (1.0, 0.1, 0.0)]

    def meanwhile(pid: int) -> None:
        _until(lambda: _status(tasks[0]) == Status.RUNNING)
        os.kill(pid, signal.SIGTERM)

    return Scenario(lambda: run_node(burst=False), meanwhile)


def producer() -> Scenario:
    """A producer saves, queues in bulk, resets, cancels, deletes."""
    old = [Job.objects.create() for _ in range(3)]
    _drain()

    def live() -> None:
        one, many = Job(), [Job(), Job(), Job()]
        for act in (
            one.save,
            lambda: Job.objects.bulk_enqueue(many),
            lambda: old[0].reset("once more"),
            lambda: one.cancel("not wanted"),
            many[0].save,
            old[1].delete,
            lambda: old[2].note("seen"),
        ):
            _as_a_caller(act)

    return Scenario(live)


def recoverer() -> Scenario:
    """Recovery itself dies, over the tasks of a vanished node and over a lost message."""
    tasks = [Job.objects.create(seconds=60.0), Job.objects.create(seconds=60.0)]
    pid = _fork(lambda: run_node(burst=False))
    _until(lambda: all(_status(task) == Status.RUNNING for task in tasks))
    os.killpg(pid, signal.SIGKILL)
    _await(pid)
    Job.objects.filter(pk__in=[task.pk for task in tasks]).update(seconds=0.0)
    Job.objects.create()
    get_queue().db.delete(get_queue().get_mq_key(Job.get_event_channel()))
    time.sleep(settings.LEASE + 0.1)

    def live() -> None:
        service.recover_all()
        service.requeue_expired_claims()
        service.adopt_foreign_claims()

    return Scenario(live)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    way.__name__: way
    for way in (
        burst_child,
        burst_node,
        deaf_node,
        deaf_producer,
        deaf_recoverer,
        retried,
        waiting_node,
        stopped_node,
        producer,
        recoverer,
    )
}


def run_scenario(
    name: str, environment: Environment, result: CheckResult, *, first: int = 1, every: int = 1
) -> dict[str, Any]:
    """Walk one way to its end, dying after every ``every``-th step; what there was on it."""
    crash_injection.install()
    MORTALITY.is_immune = True
    began, deaths, is_dead = time.monotonic(), 0, True
    for k in itertools.count(first, every):
        where, highest, now = f"{name} after step {k}", _highest(), time.time()
        if k > _LONGEST:
            result.add_violation("endless", f"{name} has more than {_LONGEST} steps")
            break
        is_dead = _run_until_crash(name, k)
        deaths += is_dead
        _drain()
        _hold(result, where, highest, now)
        if not is_dead:
            break
    found = _leaks(environment)
    for leak in found:
        result.add_violation("leaked", f"{name}: {leak}")
    for line in execution_log.read():
        if line.kind == "unforeseen":
            result.add_violation("unforeseen", f"{name}: {line.details}")
    return {"deaths": deaths, "seconds": round(time.monotonic() - began, 1)}


def _run_until_crash(name: str, k: int) -> bool:
    """Live the way once; whether a process died at the ``k``-th step."""
    MORTALITY.disarm()
    way = SCENARIOS[name]()
    MORTALITY.arm(k, fate=way.fate, log_path=settings.RUN_FOLDER / f"{name}-{k}.steps")
    pid = _fork(way.target, is_mortal=True)
    with contextlib.suppress(_IsDead):
        way.meanwhile(pid)
    _await(pid)
    is_dead = MORTALITY.is_spent
    MORTALITY.disarm()
    return is_dead


class _IsDead(Exception):
    """There is no process any more to wait for."""


_groups: set[int] = set()


def kill_all() -> None:
    """Whatever happened, leave no process behind."""
    for pid in _groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _fork(live: Callable[[], object], *, is_mortal: bool = False) -> int:
    connections.close_all()
    reset_queue()
    pid = os.fork()
    if pid:
        _groups.add(pid)
        return pid
    MORTALITY.is_immune = not is_mortal
    os.setsid()
    code = 1
    try:
        live()
        code = 0
    finally:
        os._exit(code)


def _await(pid: int) -> None:
    os.waitpid(pid, 0)
    _groups.discard(pid)


def _as_a_caller(act: Callable[[], object]) -> None:
    """Only the database may fail a caller, and what follows from that."""
    try:
        act()
    except (DatabaseError, SimpleTaskError, ValueError):
        connections.close_all()
    except Exception as error:
        execution_log.write("unforeseen", "walk", type(error).__name__)


def _tasks_of_all_kinds() -> None:
    Job.objects.create()
    Job.objects.create(fails=True)
    Parcel.objects.create()


def _is_awaited() -> bool:
    return bool(get_queue().db.info("clients")["blocked_clients"] >= 2)


def _highest() -> int:
    newest = Job.event_model.objects.order_by("-task_id").first()
    return newest.task_id if newest else 0


def _hold(result: CheckResult, where: str, highest: int, began: float) -> None:
    found = check_invariants(None, keys=set(_keys(highest, began)))
    for kind, texts in found.violations.items():
        for text in texts:
            result.add_violation(kind, f"{where}: {text}")


def _keys(highest: int, began: float) -> Iterator[str]:
    for pks in (
        Job.objects.filter(pk__gt=highest).values_list("pk", flat=True),
        Job.event_model.objects.filter(task_id__gt=highest).values_list("task_id", flat=True),
        (row.pk for row in Parcel.objects.all() if row.add_time.timestamp() >= began - 1.0),
    ):
        yield from map(str, pks)


def _drain() -> None:
    """Let healthy nodes work until nothing is left."""
    end = time.monotonic() + _PATIENCE
    while count_unfinished() and time.monotonic() < end:
        _await(_fork(lambda: run_node(burst=True)))


def _leaks(environment: Environment) -> list[str]:
    end = time.monotonic() + _PATIENCE
    with environment.redis() as client:
        while (found := find_leaks(client, environment.prefix)) and time.monotonic() < end:
            # A message whose claim has ended is taken once more, and settled.
            service.requeue_expired_claims()
            _await(_fork(lambda: run_node(burst=True)))
            time.sleep(0.2)
    return found


def _status(task: Job) -> Status:
    task.refresh_from_db()
    return Status(task.status)


def _until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + _PATIENCE
    while not is_so():
        if MORTALITY.is_spent:
            raise _IsDead
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(_LOOK)

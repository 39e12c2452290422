"""Walk through each scenario: run it again and again, and crash it one step later each time.

A step is a command that Redis has answered, or a statement or commit that the database has
executed. Scenarios run in forks of this process; the k-th fork crashes after step k. Then a healthy
node drains the queues, and the invariants of the scenario's tasks are checked. A walk ends with the
first fork that completes the scenario; a walk of a sample leaves steps out.
"""

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections, transaction

from benchmarks.chaos import crash_injection, execution_log, tasks
from benchmarks.chaos.crash_injection import ALONE, DEAF, MORTALITY, TOGETHER
from benchmarks.chaos.environment import Environment
from benchmarks.chaos.functions import CALLED
from benchmarks.chaos.invariants import CheckResult, check_invariants, find_leaks
from benchmarks.chaos.models import CHANNELS, Call, Effect, Job, Parcel, Part
from benchmarks.chaos.producers import count_unfinished
from benchmarks.chaos.schedules import add_due_schedule, wrong_ticks
from django_simpletask3.conf.options import options
from django_simpletask3.contrib.tasks.models import FunctionTask, queue_models
from django_simpletask3.dependencies import chain, group
from django_simpletask3.exceptions import SimpleTaskError
from django_simpletask3.ledger.event import events_of
from django_simpletask3.queue import get_queue, reset_queue
from django_simpletask3.recovery import service
from django_simpletask3.recovery.dependents import serve_all
from django_simpletask3.recovery.schedules import fire_all
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import Status
from django_simpletask3.worker.node.supervisor import Supervisor

_MAX_STEPS = 400  # a scenario with more steps does not end
_TIMEOUT = 30.0
_POLL = 0.01


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the crashing process does, and what others do meanwhile (called with its pid)."""

    target: Callable[[], object]
    meanwhile: Callable[[int], object] = lambda pid: None
    fault: int = TOGETHER


def _receive(**_: Any) -> None:
    """Receive the signal, so that its events are written in a transaction with more steps."""


# Jobs have no receivers.
event_recorded.connect(_receive, sender=Parcel)


def run_node(*models: type[Any], burst: bool) -> None:
    """Run a node of one process, for jobs and parcels unless for other models."""
    Supervisor(list(models or (Job, Parcel)), burst=burst).run()


def killed_child() -> Scenario:
    """A child is killed; its supervisor survives."""
    _create_tasks()
    return Scenario(lambda: run_node(burst=True), fault=ALONE)


def killed_node() -> Scenario:
    """All processes of a node are killed at once."""
    _create_tasks()
    return Scenario(lambda: run_node(burst=True))


def retried_task() -> Scenario:
    """A task function raises and is retried; the node is killed."""
    Parcel(fails=True).save()
    return Scenario(lambda: run_node(burst=True))


def snoozed_task() -> Scenario:
    """Task functions raise Snooze, Retry and Cancel; the node is killed."""
    for request in ("snooze", "retry", "cancel"):
        Parcel(request=request).save()
    return Scenario(lambda: run_node(burst=True))


def task_with_steps() -> Scenario:
    """A task with checkpoints and progress runs twice; the node is killed."""
    Job.objects.create(has_steps=True, request="snooze")
    Parcel(has_steps=True).save()
    return Scenario(lambda: run_node(burst=True))


def expired_task() -> Scenario:
    """Tasks expire before, and while, a node runs them; the node is killed."""
    for seconds in (0.01, 0.5, 60.0):
        Parcel.objects.enqueue(expires=seconds)
    return Scenario(lambda: run_node(burst=True))


def unique_task() -> Scenario:
    """Tasks are refused, replaced and reset because of their keys, and run; all are killed."""
    ended = [Parcel.objects.enqueue(address=address) for address in ("first", "second")]
    _drain()
    waiting = Parcel.objects.enqueue(address="third")

    def target() -> None:
        for action in (
            lambda: Parcel.objects.enqueue(address="first"),
            lambda: Parcel.objects.enqueue(address="third"),
            lambda: Parcel.objects.bulk_enqueue([{"address": "third"}, {"address": "fourth"}]),
            Parcel(address="fourth").save,
            lambda: ended[0].reset("its key is taken"),
            lambda: ended[1].reset("its key is free"),
            waiting.delete,
        ):
            _run_as_caller(action)
        run_node(burst=True)

    return Scenario(target)


def lost_reply_unique_task() -> Scenario:
    """The reply to one step is lost to producer or node; tasks have unique keys."""
    return replace(unique_task(), fault=DEAF)


def prioritized_task() -> Scenario:
    """Tasks of several priorities wait; the node is killed."""
    for priority in (-50, 0, 50):
        Job.objects.create(priority=priority)
    return Scenario(lambda: run_node(burst=True))


def limited_task() -> Scenario:
    """Tasks wait for places of their limit; one raises, one snoozes; the node is killed."""
    for request, fails in (("", False), ("snooze", False), ("", True), ("", False)):
        # The node sees meanwhile that no message is left: the last ones start without one.
        Call.objects.create(request=request, fails=fails, seconds=0.1)
    return Scenario(lambda: run_node(Call, burst=True))


def lost_reply_limited_task() -> Scenario:
    """The reply to one step of a node is lost; tasks wait for places of their limit."""
    return replace(limited_task(), fault=DEAF)


def dependent_task() -> Scenario:
    """A task waits for a group, of which one fails; producer and node are killed."""

    def target() -> None:
        _run_as_caller(group(Part(), Part(fails=True)).then(Part(), on_failure="run").enqueue)
        run_node(Part, burst=True)

    return Scenario(target)


def splitting_task() -> Scenario:
    """A task enqueues a group, and ends; the node is killed."""
    Part.objects.create(splits=True)
    return Scenario(lambda: run_node(Part, burst=True))


def canceled_dependent() -> Scenario:
    """A chain is canceled after a failure, and reset; a prerequisite is canceled and deleted."""
    canceled, deleted = Part.objects.create(), Part.objects.create()

    def target() -> None:
        first = Part(fails=True)
        _run_as_caller(chain(first, Part(), Part()).enqueue)
        _run_as_caller(Part().after(canceled, deleted).save)
        _run_as_caller(canceled.cancel)
        _run_as_caller(deleted.delete)
        run_node(Part, burst=True)
        _run_as_caller(lambda: first.reset(dependents=True))

    return Scenario(target)


def scheduled_task() -> Scenario:
    """A process that fires a tick is killed; another one fires what it has left."""
    add_due_schedule()
    return Scenario(fire_all)


def scheduled_call() -> Scenario:
    """A process that makes up for ticks of a function is killed."""
    add_due_schedule(tasks.try_again.module_path, ticks=2, fields={"number": 1})
    return Scenario(fire_all)


def called_function() -> Scenario:
    """Functions with retries, a limit and a key are called, and run; all are killed."""

    def call() -> None:
        with transaction.atomic():
            _call(tasks.work, has_steps=True)
            _call(tasks.try_again, ending="retry")
            _call(tasks.call, seconds=0.1)

    def target() -> None:
        _run_as_caller(call)
        for function in (tasks.join, tasks.join, tasks.call):
            _run_as_caller(partial(_call, function))
        run_node(*queue_models(), burst=True)

    return Scenario(target)


def _call(function: Any, **arguments: Any) -> None:
    with transaction.atomic():
        key = function.enqueue(number=1, **arguments).id
        Effect._default_manager.create(task=key, step=CALLED)


def lost_reply_called_function() -> Scenario:
    """The reply to one step is lost to caller or node; functions are called and run."""
    return replace(called_function(), fault=DEAF)


def lost_reply_scheduled_task() -> Scenario:
    """The reply to one step is lost while a tick is fired."""
    return replace(scheduled_task(), fault=DEAF)


def lost_reply_dependent_task() -> Scenario:
    """The reply to one step is lost; tasks wait for others."""
    return replace(dependent_task(), fault=DEAF)


def lost_reply_node() -> Scenario:
    """The reply to one step of a node is lost; no process is killed."""
    _create_tasks()
    return Scenario(lambda: run_node(burst=True), fault=DEAF)


def lost_reply_snoozed_task() -> Scenario:
    """The reply to one step of a node is lost; task functions raise Snooze, Retry and Cancel."""
    return replace(snoozed_task(), fault=DEAF)


def lost_reply_task_with_steps() -> Scenario:
    """The reply to one step of a node is lost; a task has checkpoints and progress."""
    return replace(task_with_steps(), fault=DEAF)


def lost_reply_producer() -> Scenario:
    """The reply to one step of a producer is lost; the caller goes on."""
    return replace(producer(), fault=DEAF)


def lost_reply_recovery() -> Scenario:
    """The reply to one step of recovery is lost; no process is killed."""
    return replace(recovery(), fault=DEAF)


def waiting_node() -> Scenario:
    """A node that waits for messages receives some, and is then stopped."""

    def meanwhile(pid: int) -> None:
        _wait_until(_node_is_waiting)
        tasks = [Job.objects.create(), Job.objects.create(fails=True)]
        _wait_until(lambda: all(_status(task).is_final for task in tasks))
        os.kill(pid, signal.SIGTERM)

    return Scenario(lambda: run_node(burst=False), meanwhile)


def stopped_node() -> Scenario:
    """A node is stopped while it runs tasks, one of which does not end within the grace."""
    tasks = [Job.objects.create(seconds=seconds) for seconds in (1.0, 0.1, 0.0)]

    def meanwhile(pid: int) -> None:
        _wait_until(lambda: _status(tasks[0]) == Status.RUNNING)
        os.kill(pid, signal.SIGTERM)

    return Scenario(lambda: run_node(burst=False), meanwhile)


def producer() -> Scenario:
    """A producer saves, enqueues in bulk, resets, cancels, deletes and annotates tasks."""
    saved = [Job.objects.create() for _ in range(3)]
    _drain()

    def target() -> None:
        job, jobs = Job(), [Job(), Job(), Job()]
        for action in (
            job.save,
            lambda: Job.objects.bulk_enqueue(jobs),
            lambda: saved[0].reset("once more"),
            lambda: job.cancel("not needed"),
            jobs[0].save,
            saved[1].delete,
            lambda: saved[2].note("seen"),
        ):
            _run_as_caller(action)

    return Scenario(target)


def recovery() -> Scenario:
    """Recovery is killed while it recovers the tasks of a vanished node and a lost message."""
    tasks = [Job.objects.create(seconds=60.0), Job.objects.create(seconds=60.0)]
    pid = _fork(lambda: run_node(burst=False))
    _wait_until(lambda: all(_status(task) == Status.RUNNING for task in tasks))
    os.killpg(pid, signal.SIGKILL)
    _wait_for(pid)
    Job.objects.filter(pk__in=[task.pk for task in tasks]).update(seconds=0.0)
    Job.objects.create()
    get_queue().db.delete(get_queue().get_mq_key(Job.get_event_channel()))
    time.sleep(options.simq_running_timeout + 0.1)

    def target() -> None:
        service.recover_all()
        service.requeue_expired_claims()
        service.adopt_foreign_claims()

    return Scenario(target)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    scenario.__name__: scenario
    for scenario in (
        killed_child,
        killed_node,
        expired_task,
        limited_task,
        lost_reply_limited_task,
        unique_task,
        lost_reply_unique_task,
        canceled_dependent,
        dependent_task,
        splitting_task,
        scheduled_task,
        scheduled_call,
        called_function,
        lost_reply_called_function,
        lost_reply_scheduled_task,
        lost_reply_dependent_task,
        prioritized_task,
        task_with_steps,
        lost_reply_task_with_steps,
        lost_reply_node,
        lost_reply_producer,
        lost_reply_recovery,
        lost_reply_snoozed_task,
        retried_task,
        snoozed_task,
        waiting_node,
        stopped_node,
        producer,
        recovery,
    )
}


def run_scenario(
    name: str, environment: Environment, result: CheckResult, *, every: int = 1, seed: int = 1
) -> dict[str, Any]:
    """Crash the scenario after one step of ``every`` so many; return the number of crashes.

    Violations of the invariants are added to ``result``.
    """
    crash_injection.install()
    MORTALITY.is_immune = True
    began, crashes = time.monotonic(), 0
    for k in _steps(every, random.Random(f"{seed} {name}")):
        where, last_pk, now = f"{name} after step {k}", _last_pk(), time.time()
        if k > _MAX_STEPS:
            result.add_violation("endless", f"{name} has more than {_MAX_STEPS} steps")
            break
        has_crashed = _run_until_crash(name, k)
        crashes += has_crashed
        _drain()
        _check_tasks(result, where, last_pk, now)
        if not has_crashed:
            break
    for leak in _leaks(environment):
        result.add_violation("leaked", f"{name}: {leak}")
    for line in execution_log.read():
        if line.kind == "unforeseen":
            result.add_violation("unforeseen", f"{name}: {line.details}")
    return {"crashes": crashes, "seconds": round(time.monotonic() - began, 1)}


def _steps(every: int, choice: random.Random) -> Iterator[int]:
    """Yield one step of the first ``every``, one of the next ``every``, and so on.

    The first is one of the first eight: a short scenario is crashed, too.
    """
    yield 1 + choice.randrange(min(every, 8))
    for first in itertools.count(1 + every, every):
        yield first + choice.randrange(every)


def _run_until_crash(name: str, k: int) -> bool:
    """Run the scenario once; return whether the ``k``-th step was reached and failed."""
    MORTALITY.disarm()
    scenario = SCENARIOS[name]()
    MORTALITY.arm(k, fate=scenario.fault, log_path=settings.RUN_FOLDER / f"{name}-{k}.steps")
    pid = _fork(scenario.target, may_crash=True)
    with contextlib.suppress(_Crashed):
        scenario.meanwhile(pid)
    _wait_for(pid)
    has_crashed = MORTALITY.is_spent
    MORTALITY.disarm()
    return has_crashed


class _Crashed(Exception):
    """The process to wait for has crashed."""


_groups: set[int] = set()


def kill_all() -> None:
    """Kill every process group that is left."""
    for pid in _groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _fork(target: Callable[[], object], *, may_crash: bool = False) -> int:
    connections.close_all()
    reset_queue()
    pid = os.fork()
    if pid:
        _groups.add(pid)
        return pid
    MORTALITY.is_immune = not may_crash
    os.setsid()
    code = 1
    try:
        target()
        code = 0
    finally:
        os._exit(code)


def _wait_for(pid: int) -> None:
    os.waitpid(pid, 0)
    _groups.discard(pid)


def _run_as_caller(action: Callable[[], object]) -> None:
    """Run the action; log every error that a database failure does not explain."""
    try:
        action()
    except (DatabaseError, SimpleTaskError, ValueError):
        connections.close_all()
    except Exception as error:
        execution_log.write("unforeseen", "crash-points", type(error).__name__)


def _create_tasks() -> None:
    Job.objects.create()
    Job.objects.create(fails=True)
    Parcel.objects.create()


def _node_is_waiting() -> bool:
    return bool(get_queue().db.info("clients")["blocked_clients"] >= 2)


def _last_pk() -> int:
    newest = events_of(Job, "default").order_by("-task_id").first()
    return newest.task_id if newest else 0


def _check_tasks(result: CheckResult, where: str, last_pk: int, began: float) -> None:
    for text in wrong_ticks():
        result.add_violation("ticks", f"{where}: {text}")
    found = check_invariants(None, keys=set(_keys(last_pk, began)))
    for kind, texts in found.violations.items():
        for text in texts:
            result.add_violation(kind, f"{where}: {text}")


def _keys(last_pk: int, began: float) -> Iterator[str]:
    for pks in (
        Job.objects.filter(pk__gt=last_pk).values_list("pk", flat=True),
        events_of(Job, "default").filter(task_id__gt=last_pk).values_list("task_id", flat=True),
        *(
            [row.pk for row in model._base_manager.all() if row.add_time.timestamp() >= began - 1.0]
            for model in (Parcel, Call, Part, FunctionTask)
        ),
    ):
        yield from map(str, pks)


def _drain() -> None:
    """Run healthy nodes until no unfinished task is left."""
    fire_all()
    end = time.monotonic() + _TIMEOUT
    while (serve_all() or count_unfinished()) and time.monotonic() < end:
        _wait_for(_fork(lambda: run_node(*CHANNELS, burst=True)))


def _leaks(environment: Environment) -> list[str]:
    end = time.monotonic() + _TIMEOUT
    with environment.redis() as client:
        while (found := find_leaks(client, environment.prefix)) and time.monotonic() < end:
            # A node acknowledges the messages whose claims have ended.
            service.requeue_expired_claims()
            _wait_for(_fork(lambda: run_node(*CHANNELS, burst=True)))
            time.sleep(0.2)
    return found


def _status(task: Job) -> Status:
    task.refresh_from_db()
    return Status(task.status)


def _wait_until(is_true: Callable[[], Any]) -> None:
    end = time.monotonic() + _TIMEOUT
    while not is_true():
        if MORTALITY.is_spent:
            raise _Crashed
        if time.monotonic() > end:
            raise TimeoutError("the condition did not become true in time")
        time.sleep(_POLL)

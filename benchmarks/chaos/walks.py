"""Deterministic deaths: the same way again and again, each time one step longer, until it is walked.

Each way is lived by forks of this process. Whoever dies has taken ``k`` steps (commands answered by
Redis, statements and commits of the database); then a healthy node drains, and the verdict is held over
the tasks of this life.
"""

import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connections

from benchmarks.chaos.models import Job, Parcel
from benchmarks.chaos.producers import waiting
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.verdict import Verdict, judge, leaks
from django_simpletask3 import recovery
from django_simpletask3.queue import get_queue, reset_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.supervisor import Supervisor
from tests.chaos import mortality
from tests.chaos.mortality import MORTALITY

_LONGEST = 400  # steps; a way that is longer goes round in circles
_PATIENCE = 30.0


def node(*, burst: bool) -> None:
    """Be a node of one process."""
    Supervisor([Job, Parcel], burst=burst).run()


def work() -> list[Any]:
    """Tasks that succeed, fail and are retried; what is made is pushed."""
    made: list[Any] = [Job.objects.create(), Job.objects.create(fails=True)]
    return [*made, Parcel.objects.create()]


# Ways: what is there before, and who walks.


def burst_child() -> tuple[list[Any], Callable[[], None], bool]:
    """A child dies, its supervisor lives."""
    return work(), lambda: node(burst=True), False


def burst_node() -> tuple[list[Any], Callable[[], None], bool]:
    """The whole node dies at once."""
    return work(), lambda: node(burst=True), True


def waiting_node() -> tuple[list[Any], Callable[[], None], bool]:
    """A node that waits for messages is given some, and stopped."""
    tasks = [Job(), Job(fails=True)]

    def live() -> None:
        pid = _forked(lambda: _save_when_awaited(tasks))
        del pid
        node(burst=False)

    return tasks, live, True


def producer() -> tuple[list[Any], Callable[[], None], bool]:
    """Somebody saves, queues in bulk, resets, cancels, deletes."""
    old = [Job.objects.create() for _ in range(3)]
    _drain(old)

    def live() -> None:
        one = Job.objects.create()
        many = Job.objects.bulk_enqueue([Job(), Job(), Job()])
        old[0].reset("once more")
        one.cancel("not wanted")
        many[0].save()
        old[1].delete()
        old[2].note("seen")

    return old, live, True


def recoverer() -> tuple[list[Any], Callable[[], None], bool]:
    """Recovery itself dies: over a vanished node's tasks, and over a lost message."""
    tasks = [Job.objects.create(seconds=60.0), Job.objects.create(seconds=60.0)]
    pid = _forked(lambda: node(burst=False))
    _until(lambda: all(_status(task) == Status.RUNNING for task in tasks))
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    Job.objects.filter(pk__in=[task.pk for task in tasks]).update(seconds=0.0)
    silent = Job.objects.create()
    get_queue().db.delete(get_queue().get_mq_key(Job.get_event_channel()))
    time.sleep(settings.LEASE + 0.1)

    def live() -> None:
        recovery.lost()
        recovery.messages()
        recovery.strangers()

    return [*tasks, silent], live, True


def stopped_node() -> tuple[list[Any], Callable[[], None], bool]:
    """A node is stopped while tasks run that will not end in time."""
    tasks = [Job.objects.create(seconds=2.5), Job.objects.create(seconds=0.2), Job.objects.create()]

    def live() -> None:
        parent = os.getpid()
        _forked(lambda: (time.sleep(0.15), os.kill(parent, signal.SIGTERM)))
        node(burst=False)

    return tasks, live, True


WAYS: dict[str, Callable[[], tuple[list[Any], Callable[[], None], bool]]] = {
    "burst_child": burst_child,
    "burst_node": burst_node,
    "waiting_node": waiting_node,
    "producer": producer,
    "recoverer": recoverer,
    "stopped_node": stopped_node,
}


def walked(name: str, stage: Stage, verdict: Verdict) -> dict[str, Any]:
    """Walk one way to its end; what there was on it."""
    mortality.install()
    began, deaths = time.monotonic(), 0
    for k in itertools.count(1):
        first = _highest()
        if not _lived(name, k):
            break
        deaths += 1
        _drain(None)
        _held(verdict, f"{name} after step {k}", first)
        if k > _LONGEST:
            verdict.blame("endless", f"{name} has more than {_LONGEST} steps")
            break
    _drain(None)
    _held(verdict, f"{name} to its end", first)
    found = _leaks(stage)
    for leak in found:
        verdict.blame("leaked", f"{name}: {leak}")
    return {"deaths": deaths, "seconds": round(time.monotonic() - began, 1)}


def _lived(name: str, k: int) -> bool:
    """Live the way once; whether somebody died of the ``k``-th step."""
    MORTALITY.disarm()
    _, live, together = WAYS[name]()
    connections.close_all()
    reset_queue()
    # Tasks that were there before are known by now: only the way itself is counted.
    MORTALITY.arm(k, together=together, diary=settings.RUN_FOLDER / f"{name}-{k}.steps")
    pid = _forked(live)
    os.waitpid(pid, 0)
    is_dead = MORTALITY.is_spent
    MORTALITY.disarm()
    return is_dead


def _forked(live: Callable[[], Any]) -> int:
    connections.close_all()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    code = 1
    try:
        live()
        code = 0
    finally:
        os._exit(code)


def _save_when_awaited(tasks: list[Any]) -> None:
    pass


def _highest() -> int:
    newest = Job.objects.order_by("-pk").first()
    return newest.pk if newest else 0


def _held(verdict: Verdict, where: str, first: int) -> None:
    keys = {str(pk) for pk in Job.objects.filter(pk__gt=first).values_list("pk", flat=True)}
    found = judge(keys=keys)
    for kind, texts in found.violations.items():
        for text in texts:
            verdict.blame(kind, f"{where}: {text}")


def _drain(tasks: list[Any] | None) -> None:
    """Let healthy nodes work until nothing is left."""
    end = time.monotonic() + _PATIENCE
    while waiting() and time.monotonic() < end:
        os.waitpid(_forked(lambda: node(burst=True)), 0)


def _leaks(stage: Stage) -> list[str]:
    end = time.monotonic() + _PATIENCE
    with stage.redis() as client:
        while (found := leaks(client, stage.prefix)) and time.monotonic() < end:
            recovery.messages()
            time.sleep(0.2)
    return found


def _status(task: Job) -> Status:
    task.refresh_from_db()
    return Status(task.status)


def _until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + _PATIENCE
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)

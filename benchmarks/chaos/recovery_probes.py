"""In calm weather: how soon is the task of a killed child, or of a vanished node, running again."""

import signal
import time
from typing import Any

from django.db import connections

from benchmarks.chaos import processes
from benchmarks.chaos.models import Job
from django_simpletask3.states import EventKind, Status

_LOOK = 0.02


def measure_killed_children(count: int) -> list[float]:
    """Seconds from SIGKILL of the child that runs a task to the next start of the task."""
    node = processes.start_node("probed", host="machine-probed")
    try:
        return [_probe() for _ in range(count)]
    finally:
        _end(node)


def measure_vanished_nodes(count: int) -> list[float]:
    """Seconds from SIGKILL of a whole node to the next start of its task, on another node."""
    found = []
    for number in range(count):
        node = processes.start_node(f"vanishing-{number}", host=f"vanishing-{number}")
        task = _running()
        other = processes.start_node(f"staying-{number}", host=f"staying-{number}")
        try:
            _until(other.children)
            began = time.time()
            node.kill_all()
            found.append(_next_start(task, 1) - began)
        finally:
            node.kill_all()
            _end(other)
    return found


def _probe() -> float:
    task = _running()
    began = time.time()
    processes.send_signal([int(task.worker.split(":")[1])], signal.SIGKILL)
    return _next_start(task, 1) - began


def _running() -> Job:
    # Long enough that it is killed in its first run; the second one is cut short by canceling.
    task = Job.objects.create(seconds=60.0)
    _until(lambda: _status(task) == Status.RUNNING)
    return task


def _next_start(task: Job, attempt: int) -> float:
    _until(lambda: task.events.filter(kind=EventKind.START, attempt=attempt + 1).exists())
    started = task.events.get(kind=EventKind.START, attempt=attempt + 1)
    task.cancel("seen enough")
    return float(started.event_time.timestamp())


def _status(task: Job) -> Status:
    task.refresh_from_db()
    return Status(task.status)


def _until(is_so: Any, patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("a probe waited in vain")
        time.sleep(_LOOK)


def _end(node: processes.ManagedProcess) -> None:
    # A canceled body sleeps on: the second signal does not wait for it.
    node.stop()
    time.sleep(0.3)
    processes.send_signal([node.pid], signal.SIGTERM)
    if not node.wait(timeout=15):
        node.kill_all()
    connections.close_all()

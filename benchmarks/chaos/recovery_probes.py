"""Measure, without other faults, how soon the task of a killed child or node runs again."""

import signal
import time
from typing import Any

from django.db import connections

from benchmarks.chaos import processes
from benchmarks.chaos.models import Job
from django_simpletask3.ledger.event import events_of
from django_simpletask3.states import EventKind, Status

_POLL = 0.02


def measure_killed_children(count: int) -> list[float]:
    """Return the seconds from SIGKILL of a task's child to the next start of the task."""
    node = processes.start_node("probed", host="machine-probed")
    try:
        return [_probe() for _ in range(count)]
    finally:
        _end(node)


def measure_vanished_nodes(count: int) -> list[float]:
    """Return the seconds from SIGKILL of a node to the next start of its task on another."""
    found = []
    for number in range(count):
        node = processes.start_node(f"vanishing-{number}", host=f"vanishing-{number}")
        task = _running_task()
        other = processes.start_node(f"staying-{number}", host=f"staying-{number}")
        try:
            _wait_until(other.children)
            began = time.time()
            node.kill_all()
            found.append(_next_start(task, 1) - began)
        finally:
            node.kill_all()
            _end(other)
    return found


def _probe() -> float:
    task = _running_task()
    began = time.time()
    processes.send_signal([int(task.worker.split(":")[1])], signal.SIGKILL)
    return _next_start(task, 1) - began


def _running_task() -> Job:
    # It is killed in its first run; the second run is canceled.
    task = Job.objects.create(seconds=60.0)
    _wait_until(lambda: _status(task) == Status.RUNNING)
    return task


def _next_start(task: Job, attempt: int) -> float:
    starts = events_of(Job, "default").filter(
        task=task.pk, kind=EventKind.START, attempt=attempt + 1
    )
    _wait_until(starts.exists)
    started = starts.get()
    task.cancel("measured")
    return float(started.event_time.timestamp())


def _status(task: Job) -> Status:
    task.refresh_from_db()
    return Status(task.status)


def _wait_until(is_true: Any, patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError("the condition of a probe did not become true in time")
        time.sleep(_POLL)


def _end(node: processes.ManagedProcess) -> None:
    # A canceled task function may still sleep: the second signal does not wait for it.
    node.stop()
    time.sleep(0.3)
    processes.send_signal([node.pid], signal.SIGTERM)
    if not node.wait(timeout=15):
        node.kill_all()
    connections.close_all()

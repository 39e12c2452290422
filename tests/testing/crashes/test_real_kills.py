"""A simulated crash leaves the rows and the events that SIGKILL leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_simpletask3.db import clock
from django_simpletask3.recovery import service
from django_simpletask3.states import Status
from django_simpletask3.testing import (
    TaskWorker,
    crash_after,
    crash_before,
    late_result,
    lose_worker,
    recover,
    run_tasks,
)
from tests.eventually import eventually
from tests.steps import kinds, row_of, stream_of
from tests.testapp.models import Customer, Scripted

pytestmark = pytest.mark.thorough

StartWorker = Callable[..., TaskWorker]

# Whether the step is atomic, where the worker dies, and the simulated crash there
POINTS: dict[str, tuple[bool, str, Any]] = {
    "in the function": (False, "before", lambda: crash_after("start")),
    "step not recorded": (False, "inside", lambda: crash_before("checkpoint")),
    "step recorded": (False, "recorded", lambda: crash_after("checkpoint")),
    "atomic step recorded": (True, "recorded", lambda: crash_after("checkpoint", step="step")),
}
# On SQLite nothing else could write meanwhile.
NOT_ON_SQLITE = {
    "in an atomic step": (True, "inside", lambda: crash_before("checkpoint", step="step")),
}
#: What differs from one run to another, and is replaced by its type, or by whether it is empty.
OWN_COLUMNS = {"id", "task_id", "script", "digest"}
OWN_DATA = {"claim", "seconds", "ran_seconds", "run_after"}
OWN_DATA |= {"lost_worker", "worker", "current_worker"}
VALUE = {"do": "value", "value": 7}


def script(is_atomic: bool, point: str, path: str) -> list[dict[str, Any]]:
    step = {"do": "once", "name": "step", "atomic": is_atomic}
    return [{**step, "kill_at": point, "path": path, "waits": True}]


def killing_node(sent: str) -> list[dict[str, Any]]:
    return [{"do": "kill node at", "kind": "ack", "sent": sent}, VALUE]


def fields_of(instance: Any) -> dict[str, Any]:
    """The columns of a row or an event; times, and names of workers, as what they are."""
    values = {f.attname: getattr(instance, f.attname) for f in instance._meta.concrete_fields}
    for name, value in values.items():
        if name == "worker":
            values[name] = bool(value)
        elif name.endswith(("_time", "_at", "_after")):
            values[name] = type(value)
    data = values.get("data") or {}
    values["data"] = {
        name: type(value) if name in OWN_DATA else value
        for name, value in data.items()
        if name != "payload_salt"
    }
    return {name: value for name, value in values.items() if name not in OWN_COLUMNS}


def left_of(task: Any) -> list[dict[str, Any]]:
    return [fields_of(each) for each in (row_of(task), *stream_of(task))]


def recover_as_nodes_do(*tasks: Any) -> None:
    """Recover expired leases until it was done to these, whose rows a dead session may lock."""
    before = {task: kinds(task).count("recover") for task in tasks}

    def are_recovered() -> bool:
        service.recover_expired_leases(judge_until=lambda using: clock.after(using, 3600))
        return all(kinds(task).count("recover") > before[task] for task in tasks)

    eventually(are_recovered)


def test_each_point_leaves_what_a_kill_leaves(
    task_worker: StartWorker, settings: Any, tmp_path: Path
) -> None:
    settings.DEFAULT_SIMQ_WORKER_NUMBER = 20
    points = POINTS | ({} if connection.vendor == "sqlite" else NOT_ON_SQLITE)
    worker = task_worker(Scripted)

    late = late_task(tmp_path)
    real = killed_tasks(worker, tmp_path, points)
    written = Customer.objects.count()
    simulated = {name: simulated_task(*point) for name, point in points.items()}
    simulated["before ack"] = simulated_task(None, "", lambda: crash_before("ack"))

    assert Customer.objects.count() == 2 * written
    assert {name: left_of(task) for name, task in simulated.items()} == {
        name: left_of(task) for name, task in real.items()
    }
    assert recover(*simulated.values()) == len(simulated)
    recover_as_nodes_do(late, *real.values())
    assert {task.status for task in simulated.values()} == {Status.PENDING}
    assert {name: left_of(task) for name, task in simulated.items()} == {
        name: left_of(task) for name, task in real.items()
    }
    assert left_of(simulated_late_task()) == left_of(late)


def killed_tasks(worker: TaskWorker, folder: Path, points: Any) -> dict[str, Scripted]:
    """Tasks that wait at their points until the last one kills the whole node."""
    tasks = {
        name: Scripted.objects.create(script=script(is_atomic, point, str(folder / name)))
        for name, (is_atomic, point, _) in points.items()
    }
    eventually(lambda: all((folder / name).exists() for name in points))
    tasks["before ack"] = Scripted.objects.create(script=killing_node("event_recorded"))
    await_death(worker)
    return tasks


def simulated_task(is_atomic: bool | None, _point: str, crash: Any) -> Scripted:
    steps = VALUE if is_atomic is None else script(is_atomic, "", "")
    task = Scripted.objects.create(script=steps)
    with crash():
        run_tasks(task)
    return task


def await_death(worker: TaskWorker) -> None:
    """Wait until the node has died, and note that it was to."""
    stat = Path(f"/proc/{worker.pid}/stat")
    eventually(lambda: " Z " in f" {stat.read_text().rpartition(')')[2]} ")
    worker.kill()


def late_task(folder: Path) -> Scripted:
    """A task that was recovered while its function ran, and whose function returns then."""
    here, go = folder / "late here", folder / "late go"
    task = Scripted.objects.create(
        script=[
            {"do": "touch", "path": str(here)},
            {"do": "wait", "path": str(go), "attempt": 1},
            {"do": "wait for ever", "attempt": 2},
        ]
    )
    eventually(here.exists)
    recover_as_nodes_do(task)
    eventually(lambda: row_of(task).attempt == 2)
    go.touch()
    eventually(lambda: "reject" in kinds(task))
    return task


def simulated_late_task() -> Scripted:
    task = Scripted.objects.create()
    lose_worker(task)
    recover(task)
    lose_worker(task)
    late_result(task)
    recover(task)
    return task


def test_after_the_outcome_it_leaves_what_a_kill_leaves(task_worker: StartWorker) -> None:
    real = Scripted.objects.create(script=killing_node("task_succeeded"))
    await_death(task_worker(Scripted))

    simulated = simulated_task(None, "", lambda: crash_after("ack"))

    assert simulated.status == Status.SUCCESS
    assert left_of(simulated) == left_of(real)

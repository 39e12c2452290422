"""Steps of limited tasks, and what is left of their limits."""

from collections.abc import Iterable
from typing import Any

from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.execution.start import start_one
from django_simpletask3.limits.tables import LimitGate, LimitPlace, LimitWaiter
from django_simpletask3.states import Status
from tests.steps import create_task, row_of
from tests.testapp.models import Errand

LEASE = 60.0


def errands(count: int, customer: str = "a", **columns: Any) -> list[Errand]:
    """New errands of one customer, in the order in which they wait."""
    return [create_task(Errand, customer=customer, **columns) for _ in range(count)]


def start(task: Any, worker: str = "w1") -> Run | None:
    """The run of ``task``, which a worker has tried to start; None if it was turned away."""
    runs = start_one(type(task), "default", str(task.pk), worker=worker, lease=LEASE)
    return runs[0] if runs else None


def start_all(tasks: Iterable[Any]) -> list[Run]:
    return [run for task in tasks if (run := start(task)) is not None]


def end(run: Run) -> None:
    """Let the function of ``run`` return, and its worker record that."""
    perform(run)
    assert not finish([run])


def statuses(tasks: Iterable[Any]) -> list[str]:
    return [Status(row_of(task).status).name for task in tasks]


def held() -> list[tuple[str, int]]:
    """The keys and attempts of the tasks that hold places."""
    places = [(place.task_key, place.attempt) for place in LimitPlace.objects.all()]
    return sorted(places, key=lambda place: (int(place[0]), place[1]))


def waiting() -> list[str]:
    """The keys of the tasks that wait, in order."""
    line = LimitWaiter.objects.order_by("rank", "turn", "add_time", "pk")
    return [waiter.task_key for waiter in line]


def are_limits_idle() -> bool:
    """Whether no place is held, no task waits, and no gate has to be served."""
    gates = LimitGate.objects.filter(must_be_served=True)
    return not (held() or waiting() or gates.exists())

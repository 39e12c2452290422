"""Whatever happens in whatever order, dependents are where a simple model says."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from django_simpletask3 import control
from django_simpletask3.audit.check import audit
from django_simpletask3.recovery.dependents import serve_all
from django_simpletask3.states import FINAL, UNFINISHED, WAITING, EventKind, Status
from tests.dependencies.steps import dependent_on, fail, status, step, succeed
from tests.steps import apply_kinds
from tests.testapp.models import Invoice, Step

pytestmark = pytest.mark.django_db(transaction=True)

#: The prerequisites of each dependent, and what follows from a failure.
GROUPS = [((0, 1), "cancel"), ((0, 1), "run"), ((1, 2), "wait"), ((2,), "cancel"), ((2,), "wait")]
#: What is done to a prerequisite, to a dependent, or to the queues; and how often.
OF_STEPS = {"succeed": 6, "fail": 6, "cancel": 2, "expire": 2, "delete": 1, "reset": 4}
OF_STEPS |= {"reset with dependents": 4}
OF_DEPENDENTS = {"leave": 1, "stop": 1, "expire too": 1, "again": 1}
WEIGHTS = {**OF_STEPS, **OF_DEPENDENTS, "pause": 2}


def expire(task: Any) -> None:
    apply_kinds(task, EventKind.EXPIRE)


ENDS: dict[str, Callable[[Any], object]] = {
    "succeed": succeed,
    "fail": fail,
    "cancel": lambda task: task.cancel(),
    "expire": expire,
}


@dataclass
class Dependent:
    links: dict[int, str]
    on_failure: str
    state: str = "waits"
    status: Status = Status.BLOCKED

    def end(self, number: int, *, well: bool) -> None:
        link = self.links.get(number)
        if link == "open" or (well and link == "failed" and self.on_failure == "wait"):
            self.links[number] = "ok" if well else "failed"

    def open_again(self, number: int) -> None:
        if self.links.get(number) == "failed" and self.on_failure == "cancel":
            self.links[number] = "open"
            if self.state == "canceled" and "failed" not in self.links.values():
                is_canceled = self.status is Status.CANCELED
                self.state = "waits" if is_canceled else "left"
                self.status = Status.BLOCKED if is_canceled else self.status

    def settle(self) -> None:
        ends = {"ok"} if self.on_failure == "wait" else {"ok", "failed"}
        if self.state != "waits":
            return
        if self.on_failure == "cancel" and "failed" in self.links.values():
            self.state, self.status = "canceled", Status.CANCELED
        elif set(self.links.values()) <= ends:
            self.state, self.status = "released", Status.PENDING

    def leave(self, new_status: Status) -> None:
        self.state = "left" if self.state == "waits" else self.state
        self.status = new_status


@dataclass
class World:
    """Prerequisites and dependents, in the database and in the model."""

    steps: list[Any] = field(default_factory=lambda: [step() for _ in range(3)])
    dependents: list[Dependent] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for numbers, on_failure in GROUPS:
            self.dependents.append(Dependent(dict.fromkeys(numbers, "open"), on_failure))
            chosen = [self.steps[number] for number in numbers]
            self.tasks.append(dependent_on(*chosen, on_failure=on_failure))

    def do(self, action: str, number: int) -> None:
        if action == "pause":
            # Of whose queue: that lets no task wait longer, or shorter, for others.
            model = (Invoice, Step)[number % 2]
            assert control.pause(model) or control.resume(model)
        elif action in OF_DEPENDENTS:
            self.do_to_dependent(action, number % len(self.tasks))
        elif (task := Step.objects.filter(pk=self.steps[number % 3].pk).first()) is not None:
            self.do_to_step(action, number % 3, task)

    def do_to_step(self, action: str, number: int, task: Any) -> None:
        was_unfinished = task.status in UNFINISHED
        if action in ("reset", "reset with dependents"):
            task.reset(dependents=action == "reset with dependents")
            if action == "reset with dependents":
                for dependent in self.dependents:
                    dependent.open_again(number)
        elif action == "delete":
            task.delete()
        elif was_unfinished:
            ENDS[action](task)
        else:
            return
        if was_unfinished and not action.startswith("reset"):
            for dependent in self.dependents:
                dependent.end(number, well=action == "succeed")

    def do_to_dependent(self, action: str, number: int) -> None:
        task, dependent = Invoice.objects.get(pk=self.tasks[number].pk), self.dependents[number]
        if action == "leave" and task.status == Status.BLOCKED:
            task.unblock()
            dependent.leave(Status.PENDING)
        elif action == "stop" and task.status not in FINAL:
            task.cancel()
            dependent.leave(Status.CANCELED)
        elif action == "expire too" and task.status in WAITING:
            expire(task)
            dependent.leave(Status.CANCELED)
        elif action == "again":
            task.reset()
            dependent.leave(Status.PENDING)

    def compare(self) -> None:
        for dependent in self.dependents:
            dependent.settle()
        assert list(map(status, self.tasks)) == [each.status for each in self.dependents]


@pytest.mark.parametrize("seed", range(8))
def test_dependents_are_where_the_model_says(seed: int) -> None:
    choice = random.Random(seed)
    world, done = World(), []
    for _ in range(14):
        [action] = choice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        number = choice.randrange(15)
        done.append((action, number))
        world.do(action, number)
        serve_all()
        try:
            world.compare()
        except AssertionError:
            raise AssertionError(f"{done}: {world.dependents}") from None

    assert [found for model in (Invoice, Step) for found in audit(model, "default")] == []

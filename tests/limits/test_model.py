"""Whatever happens in whatever order, a limit is kept, and a free place is given away."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from django_simpletask3 import control
from django_simpletask3.audit.check import audit
from django_simpletask3.db import clock
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.limits.maintenance import serve_limits
from django_simpletask3.limits.tables import LimitPlace
from django_simpletask3.states import FINAL, EventKind, Status
from tests.limits.steps import are_limits_idle, errands, held, start
from tests.steps import PAST, apply_kinds, row_of
from tests.testapp.models import Errand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

RUNNING = 2
CUSTOMERS = ("a", "b")
#: How a function ends.
SCRIPTS = [{"do": "value"}, {"do": "raise"}, {"do": "ask", "request": "Cancel"}]
ACTIONS = {
    "enqueue": 8,
    "start": 14,
    "end": 6,
    "lose worker": 1,
    "cancel": 2,
    "reset": 1,
    "delete": 1,
    "prune": 1,
    "expire": 2,
    "unblock": 1,
    "pause": 1,
}


@dataclass
class World:
    """The tasks of two customers, and the functions that run for them."""

    choice: random.Random
    tasks: list[Errand] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def do(self, action: str) -> None:
        getattr(self, action.replace(" ", "_"))()

    def enqueue(self) -> None:
        script = self.choice.choice(SCRIPTS)
        columns = {"script": script, "priority": self.choice.choice([0, 0, 5])}
        columns["expires_at"] = self.choice.choice([None, None, None, PAST])
        self.tasks += errands(1, self.choice.choice(CUSTOMERS), **columns)

    def start(self) -> None:
        if (task := self.any_task(Status.PENDING)) and (run := start(task)):
            self.runs.append(run)

    def end(self) -> None:
        if self.runs:
            run = self.runs.pop(self.choice.randrange(len(self.runs)))
            perform(run)
            finish([run])

    def lose_worker(self) -> None:
        """A worker is killed, and its task recovered, unless the task was taken from it before."""
        if not self.runs:
            return
        run = self.runs.pop(self.choice.randrange(len(self.runs)))
        row = row_of(run.task)
        if row and (row.status, row.attempt) == (Status.RUNNING, run.attempt):
            apply_kinds(row, EventKind.RECOVER, worker="w2")
        else:  # then it is known by its lease, which is not renewed, that its function has ended
            claim = LimitPlace.objects.filter(task_key=str(run.pk), attempt=run.attempt)
            claim.update(held_until=PAST)

    def cancel(self) -> None:
        if task := self.any_task(*set(Status) - FINAL):
            task.cancel()

    def reset(self) -> None:
        if task := self.any_task(*Status):
            task.reset()

    def delete(self) -> None:
        if task := self.any_task(*Status):
            task.delete()

    def prune(self) -> None:
        if task := self.any_task(*FINAL):
            task.delete()

    def expire(self) -> None:
        task = self.any_task(Status.PENDING, Status.BLOCKED)
        if task and task.expires_at:
            apply_kinds(task, EventKind.EXPIRE)

    def unblock(self) -> None:
        if task := self.any_task(Status.BLOCKED):
            task.unblock()

    def pause(self) -> None:
        """Places go on being given while the queue is paused, and are given back unclaimed."""
        control.pause(Errand)
        LimitPlace.objects.filter(worker="").update(held_until=clock.now("default"))
        serve()
        control.resume(Errand)

    def any_task(self, *statuses: Status) -> Any:
        tasks = [row for task in self.tasks if (row := row_of(task)) and row.status in statuses]
        return self.choice.choice(tasks) if tasks else None

    def check(self) -> None:
        for customer in CUSTOMERS:
            places, running = self.places(customer), self.functions(customer)
            assert running <= places, "a function runs without a place"
            assert len(places) <= RUNNING, "the limit is exceeded"
            assert places <= running | self.next_attempts(customer), "a place is held by no task"
            if len(places) < RUNNING:
                assert not self.blocked(customer), "a place is free, and a task waits for it"

    def places(self, customer: str) -> set[tuple[str, int]]:
        keys = {str(task.pk) for task in self.tasks if task.customer == customer}
        return {(key, attempt) for key, attempt in held() if key in keys}

    def functions(self, customer: str) -> set[tuple[str, int]]:
        runs = [run for run in self.runs if run.task.customer == customer]
        return {(str(run.pk), run.attempt) for run in runs}

    def next_attempts(self, customer: str) -> set[tuple[str, int]]:
        tasks = Errand.objects.filter(customer=customer, status=Status.PENDING)
        return {(str(task.pk), task.attempt + 1) for task in tasks}

    def blocked(self, customer: str) -> list[Errand]:
        return list(Errand.objects.filter(customer=customer, status=Status.BLOCKED))

    def finish_all(self) -> None:
        """Run what is left, until nothing is."""
        while self.runs or self.any_task(Status.PENDING, Status.BLOCKED):
            self.start()
            self.end()
            LimitPlace.objects.filter(worker="").update(held_until=clock.now("default"))
            serve()
            self.check()


def serve() -> None:
    serve_limits("default", clock.now("default"), 10.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_is_kept_and_used(seed: int) -> None:
    choice = random.Random(seed)
    world, done = World(choice), ["enqueue"] * 10
    for action in done:
        world.do(action)
    for _ in range(50):
        [action] = choice.choices(list(ACTIONS), list(ACTIONS.values()))
        done.append(action)
        world.do(action)
        serve()
        try:
            world.check()
        except AssertionError as error:
            raise AssertionError(f"{error}: {done}") from None

    world.finish_all()

    assert list(audit(Errand, "default")) == []
    assert are_limits_idle()

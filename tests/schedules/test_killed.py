"""A process that is killed at any statement or commit leaves the tick to the next one."""

import os
import signal
from typing import Any

import pytest
from django.db import connection, connections

from django_simpletask3.db import clock
from django_simpletask3.testing import TaskClock
from tests.schedules.steps import BEGIN, HOUR, fired, make_schedule, new_node
from tests.steps import kinds
from tests.testapp.models import Invoice

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


class _Steps:
    """Kills this process at a step: before and after each statement and each commit."""

    def __init__(self, last: int) -> None:
        self._left = last

    def step(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def execute(self, execute: Any, *arguments: Any) -> Any:
        self.step()
        result = execute(*arguments)
        self.step()
        return result

    def wrap_commit(self) -> None:
        commit = connection.commit

        def counted() -> None:
            self.step()
            commit()
            self.step()

        connection.commit = counted  # type: ignore[method-assign]


def is_killed_at(step: int) -> bool:
    """Fire what is due in a fork that is killed there; whether it was."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        steps = _Steps(step)
        steps.wrap_commit()
        with connection.execute_wrapper(steps.execute):
            new_node().run()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def test_a_tick_is_fired_once_wherever_a_process_is_killed(
    hand_clock: TaskClock, redis_url: str
) -> None:
    make_schedule(overlap="skip")
    step, killed_after_commit = 0, 0
    while True:
        hand_clock.shift(HOUR)
        Invoice.objects.all().delete()
        is_killed = is_killed_at(step)
        killed_after_commit += is_killed and Invoice.objects.exists()
        new_node().run()

        task = Invoice.objects.get()
        assert kinds(task) == ["enqueue"]
        assert task.events.get().data["tick"] == clock.utc_now("default").isoformat()
        if not is_killed:
            break
        step += 1

    assert step >= 20
    assert killed_after_commit
    assert fired() == [BEGIN + (number + 1) * HOUR for number in range(step + 1)]

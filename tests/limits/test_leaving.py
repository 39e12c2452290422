"""Tasks that leave the line, or do not claim the place that they were given."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from django_simpletask3.limits.maintenance import serve_limits
from django_simpletask3.limits.tables import LimitPlace
from tests.limits.steps import (
    are_limits_idle,
    end,
    errands,
    held,
    start,
    start_all,
    statuses,
    waiting,
)
from tests.steps import PAST, kinds, row_of
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)


WAYS_OUT: dict[str, Callable[[Any], object]] = {
    "cancel": lambda task: row_of(task).cancel(),
    "delete": lambda task: row_of(task).delete(),
    "reset": lambda task: row_of(task).reset(),
    "unblock": lambda task: row_of(task).unblock(),
    "bulk cancel": lambda task: Errand.objects.filter(pk=task.pk).cancel("not needed"),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_task_that_leaves_the_line_is_passed_over(way: str) -> None:
    tasks = errands(4)
    first, _ = start_all(tasks)

    WAYS_OUT[way](tasks[2])
    assert waiting() == [str(tasks[3].pk)]
    end(first)

    assert statuses([tasks[3]]) == ["PENDING"]


@pytest.mark.parametrize("way", ["cancel", "delete", "reset", "bulk cancel"])
def test_a_place_that_was_given_in_vain_goes_to_the_next_one(way: str) -> None:
    tasks = errands(4)
    first, _ = start_all(tasks)
    end(first)
    assert statuses(tasks[2:]) == ["PENDING", "BLOCKED"]

    WAYS_OUT[way](tasks[2])
    serve_limits("default", None, 10.0)

    assert statuses([tasks[3]]) == ["PENDING"]
    assert start(tasks[3]) is not None


def test_a_place_is_not_lost_by_a_user_whose_transaction_is_rolled_back() -> None:
    tasks = errands(3)
    first, _ = start_all(tasks)
    end(first)

    with transaction.atomic():
        row_of(tasks[2]).cancel()
        transaction.set_rollback(True)

    assert start(tasks[2]) is not None


def test_a_reset_of_a_running_task_needs_a_place_of_its_own() -> None:
    tasks = errands(2)
    first, _ = start_all(tasks)
    row_of(tasks[0]).reset()

    assert start(tasks[0]) is None
    assert held() == [(str(tasks[0].pk), 1), (str(tasks[1].pk), 1)]

    end(first)
    assert start(tasks[0]) is not None
    assert held() == [(str(tasks[0].pk), 2), (str(tasks[1].pk), 1)]


def test_a_task_of_a_changed_key_waits_at_its_new_gate() -> None:
    tasks = errands(3)
    first, second = start_all(tasks)
    Errand.objects.filter(pk=tasks[2].pk).update(customer="b")

    end(first)

    assert start(tasks[2]) is not None
    end(second)
    serve_limits("default", None, 10.0)
    assert len(held()) == 1


def test_deleted_tasks_leave_nothing_behind() -> None:
    runs = start_all(errands(4))
    end(runs[0])

    Errand.objects.all().delete()
    end(runs[1])
    serve_limits("default", None, 10.0)

    assert are_limits_idle()


def test_an_expired_task_takes_no_place() -> None:
    [task] = errands(1, expires_at=PAST)

    assert start(task) is None

    assert kinds(task) == ["enqueue", "expire"]
    assert not LimitPlace.objects.exists()

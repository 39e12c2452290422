"""Tasks of a limited model: which start, which wait, and who goes on when one ends."""

from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from django_simpletask3.limits import Limit
from django_simpletask3.limits.tables import LimitGate, LimitPlace
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
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
from tests.steps import has_message, kinds, row_of, stream_of
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_third_task_of_a_customer_waits_and_goes_on_when_one_ends() -> None:
    tasks = errands(4)

    first, _ = start_all(tasks)

    assert statuses(tasks) == ["RUNNING", "RUNNING", "BLOCKED", "BLOCKED"]
    assert waiting() == [str(tasks[2].pk), str(tasks[3].pk)]

    end(first)

    assert statuses(tasks) == ["SUCCESS", "RUNNING", "PENDING", "BLOCKED"]
    assert kinds(tasks[2]) == ["enqueue", "block", "unblock"]
    assert has_message(tasks[2])
    assert start(tasks[2]) is not None
    assert start(tasks[3]) is None


def test_all_run_in_the_end_and_nothing_is_left_of_them() -> None:
    tasks = errands(5)
    runs = start_all(tasks)

    while runs:
        for run in runs:
            end(run)
        runs = start_all([task for task in tasks if row_of(task).status == Status.PENDING])

    assert statuses(tasks) == ["SUCCESS"] * 5
    assert are_limits_idle()


def test_customers_do_not_wait_for_each_other() -> None:
    errands(3, "a")
    others = errands(2, "b")

    start_all(Errand.objects.order_by("pk"))

    assert statuses(others) == ["RUNNING", "RUNNING"]


def test_any_key_has_a_gate() -> None:
    tasks = [task for number in range(40) for task in errands(1, f"customer {number}")]

    assert len(start_all(tasks)) == 40


def test_events_name_the_limit_and_the_place() -> None:
    tasks = errands(3)

    first, _ = start_all(tasks)
    end(first)
    start(tasks[2])

    started, blocked = stream_of(tasks[0])[1], stream_of(tasks[2])[1]
    unblocked, restarted = stream_of(tasks[2])[2:4]
    assert started.data["place"] == 1
    assert (blocked.reason, blocked.data["limit"]) == ("limit", "testapp.Errand")
    assert (unblocked.reason, unblocked.data["place"]) == ("limit", 1)
    assert restarted.data["place"] == 1


def test_no_newcomer_gets_the_place_that_was_given_to_one_that_waited() -> None:
    tasks = errands(3)
    first, _ = start_all(tasks)
    end(first)

    [newcomer] = errands(1)

    assert start(newcomer) is None
    assert start(tasks[2]) is not None


def test_newcomers_wait_behind_others_although_a_place_is_free() -> None:
    tasks = errands(3)
    start_all(tasks)
    LimitPlace.objects.filter(number=1).delete()

    [newcomer] = errands(1)

    assert start(newcomer) is None
    assert LimitGate.objects.get().must_be_served


def test_the_highest_priority_goes_on_first_and_equals_in_the_order_of_enqueuing() -> None:
    tasks = errands(2)
    first, second = start_all(tasks)
    low, high, equal = *errands(1), *errands(1, priority=5), *errands(1)
    start_all([equal, low, high])

    end(first)
    end(second)

    assert statuses([low, high, equal]) == ["PENDING", "PENDING", "BLOCKED"]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ({"do": "value"}, "SUCCESS"),
        ({"do": "fail"}, "FAILED"),
        ({"do": "ask", "request": "Retry"}, "FAILED"),
        ({"do": "ask", "request": "Snooze", "after": 60}, "PENDING"),
        ({"do": "ask", "request": "Cancel"}, "CANCELED"),
    ],
)
def test_every_outcome_frees_the_place(script: dict[str, Any], status: str) -> None:
    tasks = errands(3, script=script)
    first, _ = start_all(tasks)

    end(first)

    assert statuses(tasks) == [status, "RUNNING", "PENDING"]


@pytest.mark.parametrize("kind", [EventKind.RECOVER, EventKind.DROP, EventKind.RELEASE])
def test_the_recovery_of_a_lost_worker_frees_its_place(kind: EventKind) -> None:
    tasks = errands(3)
    start_all(tasks)

    apply(row_of(tasks[0]), kind)

    assert statuses(tasks[1:]) == ["RUNNING", "PENDING"]
    assert held() == [(str(tasks[1].pk), 1), (str(tasks[2].pk), 1)]


@pytest.mark.parametrize("kind", ["cancel", "reset", "delete"])
def test_what_is_done_to_a_running_task_frees_nothing_before_its_function_ends(kind: str) -> None:
    tasks = errands(3)
    first, _ = start_all(tasks)

    getattr(row_of(tasks[0]), kind)()

    assert statuses([tasks[2]]) == ["BLOCKED"]
    end(first)
    assert statuses([tasks[2]]) == ["PENDING"]


def test_a_function_that_stops_after_a_cancel_frees_its_place(tmp_path: Path) -> None:
    tasks = errands(3, script={"do": "work until stopped", "path": str(tmp_path / "ended")})
    first, _ = start_all(tasks)
    first.task.cancel()

    end(first)

    assert kinds(tasks[0]) == ["enqueue", "start", "cancel"]
    assert statuses([tasks[2]]) == ["PENDING"]


def test_a_waiting_task_says_how_many_are_before_it(
    django_assert_max_num_queries: Any,
) -> None:
    tasks = errands(5)
    start_all(tasks)

    with django_assert_max_num_queries(4):
        assert tasks[2].explain() == (
            "It is the next one to get a place of the limit testapp.Errand. Places taken: 2 of 2."
        )
    assert tasks[3].explain() == (
        "It waits for a place of the limit testapp.Errand, behind 1 other task. "
        "Places taken: 2 of 2."
    )
    assert "behind 2 other tasks." in tasks[4].explain()


def test_those_that_wait_get_places_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(1, fair_by="{customer}")
    monkeypatch.setattr(Errand, "django_simpletask3_limit", limit)
    [run] = start_all(errands(1, "a"))
    ours = errands(3, "a")
    start_all(ours)
    theirs = errands(2, "b")
    start_all(theirs)
    order = []

    while waiting():
        end(run)
        [task] = Errand.objects.pending()
        order.append(task.customer)
        [run] = start_all([task])
        if len(order) == 3:  # a value that comes later begins at the turn of now
            start_all(errands(1, "c"))

    assert order == ["a", "b", "a", "b", "a", "c"]


@pytest.mark.parametrize("priority", [50, F("priority") + 50], ids=["value", "expression"])
def test_a_new_priority_changes_the_place_in_line(priority: Any) -> None:
    tasks = errands(4)
    first, _ = start_all(tasks)
    last = row_of(tasks[3])

    last.priority = priority
    last.save()

    assert waiting() == [str(tasks[3].pk), str(tasks[2].pk)]
    end(first)
    assert statuses(tasks[2:]) == ["BLOCKED", "PENDING"]

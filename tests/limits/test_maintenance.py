"""Places that nothing gives back, and gates that nothing serves: the maintenance of limits."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from django_simpletask3.db import clock
from django_simpletask3.limits import Limit, hand_over
from django_simpletask3.limits.maintenance import (
    delete_idle_gates,
    mark_gates,
    release_unlimited,
    serve_limits,
)
from django_simpletask3.limits.places import renew_places
from django_simpletask3.limits.tables import LimitGate, LimitPlace, LimitWaiter
from django_simpletask3.recovery.due_check import read_due_times
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from tests.limits.steps import are_limits_idle, end, errands, held, start, start_all, statuses
from tests.steps import PAST, kinds, row_of
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)


def serve() -> None:
    serve_limits("default", clock.now("default"), 10.0)


def set_limit(monkeypatch: pytest.MonkeyPatch, limit: Limit | None) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", limit)


def test_a_place_that_was_not_claimed_goes_to_the_next_one(pass_time: Any) -> None:
    tasks = errands(4)
    first, _ = start_all(tasks)
    end(first)
    pass_time(timedelta(seconds=30))
    serve()
    assert statuses(tasks[2:]) == ["PENDING", "BLOCKED"]
    LimitPlace.objects.filter(worker="").update(held_until=clock.now("default"))

    serve()

    assert statuses(tasks[2:]) == ["PENDING", "PENDING"]
    assert start(tasks[2]) is None
    assert start(tasks[3]) is not None


def test_the_one_that_did_not_claim_its_place_is_the_first_in_line_again() -> None:
    tasks = errands(5)
    first, second = start_all(tasks)
    end(first)
    LimitPlace.objects.filter(worker="").update(held_until=clock.now("default"))
    serve()
    start(tasks[2])

    end(second)

    assert statuses(tasks[2:]) == ["PENDING", "PENDING", "BLOCKED"]


def test_the_place_of_a_running_task_is_left_to_recovery(pass_time: Any) -> None:
    tasks = errands(3)
    start_all(tasks)
    pass_time(timedelta(hours=1))

    serve()

    assert len(held()) == 2
    assert statuses([tasks[2]]) == ["BLOCKED"]


def test_the_place_of_a_canceled_task_ends_with_the_lease_of_its_worker(pass_time: Any) -> None:
    tasks = errands(3)
    start_all(tasks)
    row_of(tasks[0]).cancel()
    serve()
    assert statuses([tasks[2]]) == ["BLOCKED"]
    pass_time(timedelta(hours=1))
    LimitPlace.objects.filter(task_key=str(tasks[1].pk)).update(
        held_until=clock.now("default") + timedelta(seconds=9)
    )

    serve()

    assert statuses([tasks[2]]) == ["PENDING"]


def test_its_worker_keeps_it_while_the_function_runs(pass_time: Any) -> None:
    tasks = errands(3)
    start_all(tasks)
    row_of(tasks[0]).cancel()
    pass_time(timedelta(hours=1))
    until = clock.now("default") + timedelta(seconds=60)

    renew_places(Errand, [tasks[0].pk, tasks[1].pk], "w1", until, "default")
    serve()

    assert statuses([tasks[2]]) == ["BLOCKED"]


def test_no_lease_is_judged_after_an_outage(pass_time: Any) -> None:
    tasks = errands(3)
    start_all(tasks)
    row_of(tasks[0]).cancel()
    pass_time(timedelta(hours=1))

    serve_limits("default", None, 10.0)

    assert statuses([tasks[2]]) == ["BLOCKED"]


def test_a_marked_gate_is_served() -> None:
    tasks = errands(3)
    start_all(tasks)
    LimitPlace.objects.filter(number=1).delete()
    newcomer = errands(1)[0]
    start(newcomer)

    serve()

    assert statuses([tasks[2], newcomer]) == ["PENDING", "BLOCKED"]
    assert not LimitGate.objects.get().must_be_served


def test_a_raised_limit_lets_waiting_tasks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = errands(5)
    start_all(tasks)
    set_limit(monkeypatch, Limit(4, key="{customer}"))

    mark_gates("default")
    serve()

    assert statuses(tasks[2:]) == ["PENDING", "PENDING", "BLOCKED"]


def test_a_lowered_limit_applies_to_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = errands(4)
    first, second = start_all(tasks)
    set_limit(monkeypatch, Limit(1, key="{customer}"))

    end(first)
    assert statuses(tasks[2:]) == ["BLOCKED", "BLOCKED"]
    end(second)

    assert statuses(tasks[2:]) == ["PENDING", "BLOCKED"]


@pytest.mark.parametrize("limit", [None, Limit(1, name="other")], ids=["removed", "renamed"])
def test_the_tasks_of_a_limit_that_is_no_more_go_on(
    monkeypatch: pytest.MonkeyPatch, limit: Limit | None
) -> None:
    tasks = errands(4)
    runs = start_all(tasks)
    set_limit(monkeypatch, limit)

    release_unlimited("default", 10.0)

    assert statuses(tasks[2:]) == ["PENDING", "PENDING"]
    assert kinds(tasks[3]) == ["enqueue", "block", "unblock"]
    for run in runs:
        end(run)
    runs = start_all(tasks[2:])
    assert len(runs) == (2 if limit is None else 1)


def wait_of_a_newer_model(count: int) -> None:
    """Let tasks wait, before all others, that only nodes of a newer version know."""
    waiters = [
        LimitWaiter(
            gate=LimitGate.objects.get(),
            rank=-9,
            add_time=PAST,
            block_time=PAST,
            model="new.Task",
            task_key=str(n),
        )
        for n in range(count)
    ]
    LimitWaiter.objects.bulk_create(waiters)


def test_tasks_that_only_newer_nodes_know_are_left_to_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = errands(4)
    first, _ = start_all(tasks)
    wait_of_a_newer_model(250)

    end(first)

    assert statuses(tasks[2:]) == ["PENDING", "BLOCKED"]
    set_limit(monkeypatch, None)
    assert release_unlimited("default", 10.0) == 1
    assert statuses(tasks[2:]) == ["PENDING", "PENDING"]
    assert LimitWaiter.objects.count() == 250
    assert LimitGate.objects.get().has_waiters


def test_tasks_that_cannot_go_on_do_not_keep_the_maintenance_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_all(errands(4))
    set_limit(monkeypatch, None)

    def refuse(**_: object) -> None:
        raise RuntimeError("not now")

    event_recorded.connect(refuse, sender=Errand)
    try:
        assert release_unlimited("default", 10.0) == 0
    finally:
        event_recorded.disconnect(refuse, sender=Errand)
    assert release_unlimited("default", 10.0) == 2


def test_a_place_whose_worker_goes_on_is_free_when_the_process_has_ended(pass_time: Any) -> None:
    tasks = errands(4)
    start_all(tasks)

    apply(row_of(tasks[0]), EventKind.RECOVER, reason="time_limit")
    serve()
    assert statuses(tasks[2:]) == ["BLOCKED", "BLOCKED"]

    pass_time(timedelta(seconds=6))
    serve()
    assert statuses(tasks[2:]) == ["PENDING", "BLOCKED"]


@pytest.mark.parametrize("reason", ["time_limit", "worker_stopping"])
def test_the_reason_of_a_user_ends_no_place_of_a_function_that_runs(
    reason: str, pass_time: Any
) -> None:
    """A worker that gives a task up for this reason ends the process."""
    tasks = errands(3)
    start_all(tasks)

    row_of(tasks[0]).cancel(reason)
    pass_time(timedelta(seconds=6))
    serve()

    assert len(held()) == 2
    assert statuses([tasks[2]]) == ["BLOCKED"]


def test_a_place_or_waiter_of_another_type_of_key_stops_no_other(pass_time: Any) -> None:
    """As a change of the type of the primary key leaves them."""
    tasks = errands(4)
    first, _ = start_all(tasks)
    wrong = LimitWaiter.objects.get(task_key=str(tasks[2].pk))
    wrong.pk, wrong.rank, wrong.task_key = None, -99, "7f0c"
    wrong.save(force_insert=True)
    gate = LimitGate.objects.create(name="testapp.Errand", key=uuid.uuid4())
    LimitPlace.objects.create(
        gate=gate,
        number=1,
        model="testapp.Errand",
        task_key="7f0c",
        attempt=1,
        worker="w1",
        held_until=PAST,
    )

    end(first)
    serve()

    assert statuses([tasks[2]]) == ["PENDING"]
    assert not LimitWaiter.objects.filter(task_key="7f0c").exists()
    assert not LimitPlace.objects.filter(task_key="7f0c").exists()


def test_waiting_tasks_that_cannot_be_read_keep_no_outcome_from_being_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = errands(3)
    first, second = start_all(tasks)

    def load(*_: object) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM testapp_errand")

    with monkeypatch.context() as broken:
        broken.setattr(hand_over, "_load", load)
        end(first)

    assert statuses(tasks) == ["SUCCESS", "RUNNING", "BLOCKED"]
    serve()
    assert statuses(tasks) == ["SUCCESS", "RUNNING", "PENDING"]
    end(second)


def test_a_gate_whose_limit_has_no_rate_any_more_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_limit(monkeypatch, Limit(key="{customer}", rate="20/m"))
    start_all(errands(3))
    set_limit(monkeypatch, Limit(1, key="{customer}"))
    LimitGate.objects.update(next_start_at=PAST)

    serve()

    assert not read_due_times("default", [Errand]).may_serve_limits


def test_nothing_is_left_of_a_waiting_task_whose_row_was_deleted_by_sql() -> None:
    tasks = errands(3)
    first, second = start_all(tasks)
    Errand.objects.filter(pk=tasks[2].pk)._raw_delete("default")

    end(first)
    end(second)

    assert are_limits_idle()


def test_the_due_check_sees_places_that_end_and_gates_to_be_served(pass_time: Any) -> None:
    tasks = errands(2)
    start_all(tasks)
    assert not read_due_times("default", [Errand]).may_serve_limits
    LimitGate.objects.update(must_be_served=True)
    assert read_due_times("default", [Errand]).may_serve_limits
    serve()
    assert not read_due_times("default", [Errand]).may_serve_limits

    pass_time(timedelta(hours=1))

    assert read_due_times("default", [Errand]).may_serve_limits


def test_gates_are_deleted_when_no_place_is_taken_and_no_task_waits() -> None:
    run, *_ = start_all([*errands(1, "a"), *errands(3, "b")])
    end(run)

    delete_idle_gates("default")

    assert LimitGate.objects.count() == 1
    assert len(held()) == 2
    assert len(start_all(errands(1, "a"))) == 1
    assert LimitGate.objects.count() == 2

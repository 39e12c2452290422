"""What a node does besides: limits, unique keys, prerequisites, expiry, subscribers."""

from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.dependencies import serving
from django_simpletask3.exceptions import DuplicateTask
from django_simpletask3.limits import Limit
from django_simpletask3.testing import eager_tasks, run_tasks
from tests.dependencies.steps import dependent_on, step
from tests.limits.steps import are_limits_idle, end, errands, start_all
from tests.steps import PAST, create_task, kinds
from tests.subscriptions.conftest import Follow
from tests.subscriptions.conftest import follow as follow  # noqa: PLC0414 - a fixture
from tests.testapp.models import Bill, Errand, Invoice, Offer

pytestmark = pytest.mark.django_db


def test_tasks_of_a_limit_run_one_after_the_other() -> None:
    tasks = errands(3)

    result = run_tasks(Errand)

    assert result.succeeded == tasks
    assert are_limits_idle()


def test_a_task_without_a_free_place_is_blocked_and_runs_when_there_is_one() -> None:
    tasks = errands(3)
    runs = start_all(tasks[:2])

    blocked = run_tasks(Errand).blocked
    end(runs[0])
    result = run_tasks(Errand)

    assert blocked == [tasks[2]]
    assert result.succeeded == [tasks[2]]
    assert kinds(tasks[2]) == ["enqueue", "block", "unblock", "start", "ack"]


def test_a_rate_counts(monkeypatch: pytest.MonkeyPatch, pass_time: Any) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(rate="1/h", key="{customer}"))
    tasks = errands(2)

    result = run_tasks(Errand)
    pass_time(timedelta(hours=1))
    later = run_tasks(Errand)

    assert (result.succeeded, result.blocked) == (tasks[:1], tasks[1:])
    assert later.succeeded == tasks[1:]


def test_a_unique_key_is_free_after_the_start() -> None:
    create_task(Bill, number="7")
    with pytest.raises(DuplicateTask):
        create_task(Bill, number="7")

    run_tasks(Bill)

    assert run_tasks(create_task(Bill, number="7")).succeeded


def test_dependents_run_after_their_prerequisites() -> None:
    first = step()
    second = dependent_on(first)

    result = run_tasks()

    assert result.succeeded == [first, second]
    assert kinds(second) == ["enqueue", "block", "unblock", "start", "ack"]


def test_dependents_are_canceled_after_a_failure() -> None:
    first = step(script={"do": "raise"})
    second = dependent_on(first)

    result = run_tasks()

    assert (result.failed, result.canceled, result.blocked) == ([first], [second], [])


def test_dependents_that_are_released_later_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_MAX_AT_ONCE", 1)
    monkeypatch.setattr(serving, "_SECONDS_AFTER_COMMIT", 0)
    monkeypatch.setattr(serving, "_BATCH_SIZE", 1)
    first = step()
    dependents = [dependent_on(first) for _ in range(3)]

    result = run_tasks()

    assert result.succeeded == [first, *dependents]


def test_expired_tasks_are_canceled_and_do_not_run() -> None:
    expired = Offer.objects.enqueue(expires=PAST)
    blocked = Offer.objects.enqueue(expires=PAST, blocked=True)
    task = Offer.objects.enqueue(expires=timedelta(hours=1))

    result = run_tasks()

    assert set(result.canceled) == {expired, blocked}
    assert result.succeeded == [task]
    assert kinds(expired) == ["enqueue", "expire"]


def test_expired_tasks_of_other_models_are_left_alone() -> None:
    offer = create_task(Offer, expires_at=PAST)

    run_tasks(Invoice)
    with eager_tasks():
        create_task(Invoice)

    assert kinds(offer) == ["enqueue"]
    assert run_tasks(Offer).canceled == [offer]


def test_events_are_delivered_to_subscribers(follow: Follow) -> None:
    received: list[tuple[Any, str]] = []

    def follow_up(task: Any, event: Any) -> None:
        received.append((task, str(event.kind)))
        if event.kind == "ack":
            create_task(Offer)

    follow("letters", follow_up, Invoice)
    task = create_task(Invoice)

    result = run_tasks()

    assert received == [(task, kind) for kind in ("enqueue", "start", "ack")]
    assert [type(task) for task in result.succeeded] == [Invoice, Offer]

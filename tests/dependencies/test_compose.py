"""Chains and groups are enqueued in one transaction, in batches."""

from typing import Any

import pytest
from django.db import connection

from django_simpletask3.dependencies import chain, group
from django_simpletask3.dependencies.tables import TaskDependency, TaskDependent, TaskGroup
from django_simpletask3.recovery.dependents import serve_all
from django_simpletask3.states import Status
from tests.dependencies.steps import fail, status, step, succeed
from tests.steps import has_message, kinds
from tests.testapp.models import Invoice, LargeStep, QuickStep, Step

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_tasks_of_a_chain_run_one_after_the_other(redis_url: str) -> None:
    first, second, third = chain(Step(), Step(), Invoice()).enqueue()

    states = [[status(task) for task in (first, second, third)]]
    for task in (first, second):
        succeed(task)
        states.append([status(task) for task in (first, second, third)])

    pending, blocked, done = Status.PENDING, Status.BLOCKED, Status.SUCCESS
    assert states == [[pending, blocked, blocked], [done, pending, blocked], [done, done, pending]]


def test_the_rest_of_a_chain_is_canceled_after_a_failure(redis_url: str) -> None:
    tasks = chain(*(Step() for _ in range(30)), Invoice()).enqueue()

    fail(tasks[0])
    serve_all()

    assert {status(task) for task in tasks[1:]} == {Status.CANCELED}


def test_what_comes_after_a_group_waits_for_all_of_it(redis_url: str) -> None:
    *members, after, also = (
        group(Step(), QuickStep(), LargeStep(), step()).then(Invoice(), Step()).enqueue()
    )
    for task in members:
        assert status(after) is status(also) is Status.BLOCKED
        succeed(task)

    assert status(after) is status(also) is Status.PENDING
    assert has_message(after)
    assert kinds(members[0]) == ["enqueue", "start", "ack"]


def test_what_comes_after_an_empty_group_runs_at_once(redis_url: str) -> None:
    [task] = group().then(Invoice()).enqueue()

    assert has_message(task)


def test_a_group_may_have_nothing_after_it(redis_url: str) -> None:
    tasks = group(Step(), Step()).enqueue()

    assert all(map(has_message, tasks))
    assert not TaskGroup.objects.exists()


def test_nothing_is_left_of_a_group_that_could_not_be_inserted(monkeypatch: Any) -> None:
    after = Invoice()
    to_enqueue = group(Step(), Step()).then(after)
    with monkeypatch.context() as broken:
        broken.setattr("django_simpletask3.dependencies.linking.dependents_of", lambda using: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            to_enqueue.enqueue()
    remains = [m.objects.exists() for m in (Step, Invoice, TaskGroup, TaskDependency)]

    to_enqueue.enqueue()

    assert not any(remains)
    assert status(after) is Status.BLOCKED


def test_what_cannot_be_enqueued_is_refused() -> None:
    task = Step()
    with pytest.raises(ValueError, match="named twice"):
        chain(task, task)
    with pytest.raises(ValueError, match="is saved"):
        group().then(step())
    with pytest.raises(ValueError, match="named twice"):
        group(task).then(task).enqueue()
    with pytest.raises(ValueError, match="in one call"):
        group().then(Invoice()).then(Invoice())
    with pytest.raises(ValueError, match="waits for other tasks"):
        group().then(Invoice().after(step()))
    with pytest.raises(ValueError, match="on_failure is 'ignore'; expected one of 'cancel', 'run'"):
        group().then(Invoice(), on_failure="ignore")
    with pytest.raises(TypeError, match="cannot be awaited"):
        chain(Invoice(), Step())


def statements_of(count: int, django_assert_max_num_queries: Any) -> int:
    with django_assert_max_num_queries(1000) as queries:
        group(*(Step() for _ in range(count))).then(Invoice()).enqueue()
    return len(queries)


def test_a_group_is_inserted_in_batches(django_assert_max_num_queries: Any) -> None:
    few, many = (statements_of(n, django_assert_max_num_queries) for n in (2, 402))

    # SQLite takes 999 parameters a statement.
    assert many - few < (25 if connection.vendor == "sqlite" else 10)
    assert TaskDependent.objects.count() == 2

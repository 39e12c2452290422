"""Chains and groups are enqueued in one transaction, in batches."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from django_simpletask3.dependencies import chain, group
from django_simpletask3.dependencies.tables import (
    PrerequisiteGroup,
    TaskDependent,
    TaskPrerequisite,
)
from django_simpletask3.exceptions import DuplicateTask, TaskGone
from django_simpletask3.recovery.dependents import serve_all
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind, Status
from django_simpletask3.unique import Unique
from tests.dependencies.steps import fail, status, step, succeed
from tests.steps import has_message, kinds
from tests.testapp.models import Bill, Invoice, LargeStep, QuickStep, Step

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
    assert not PrerequisiteGroup.objects.exists()


def test_nothing_is_left_of_a_group_that_could_not_be_inserted(monkeypatch: Any) -> None:
    after = Invoice()
    to_enqueue = group(Step(), Step()).then(after)
    with monkeypatch.context() as broken:
        broken.setattr("django_simpletask3.dependencies.linking.dependents_of", lambda using: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            to_enqueue.enqueue()
    remains = [m.objects.exists() for m in (Step, Invoice, PrerequisiteGroup, TaskPrerequisite)]

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
    with pytest.raises(TypeError, match="No task can wait for"):
        chain(Invoice(), Step())
    for enqueued in (chain(Step(), Step()), group(Step()).then(Step())):
        enqueued.enqueue()
        with pytest.raises(ValueError, match="called already"):
            enqueued.enqueue()


@pytest.mark.parametrize(
    ("compose", "expected"),
    [
        (lambda: chain([Step(), Step()]), r"write chain\(\*tasks\)"),
        (lambda: group([Step()]), r"group\(\*tasks\)"),
        (lambda: group(Step()).then([Invoice()]), r"not \[<Invoice"),
        (lambda: chain(Step(), group(Step())), "A Group is no task"),
        (lambda: group(chain(Step()), Step()), "A Chain is no task"),
    ],
)
def test_what_is_no_task_is_refused(compose: Callable[[], object], expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        compose()


def test_a_key_that_is_taken_does_no_harm_to_a_transaction(redis_url: str) -> None:
    Bill.objects.enqueue(number="7")

    with transaction.atomic():
        for enqueue in (
            Bill(number="7").after(step()).save,
            chain(Step(), Bill(number="7")).enqueue,
            group(Step(), Bill(number="7")).enqueue,
        ):
            with pytest.raises(DuplicateTask):
                enqueue()
        Bill.objects.enqueue(number="8")

    assert Bill.objects.count() == 2
    assert Step.objects.count() == 1


@pytest.mark.parametrize("on_conflict", ["join", "replace"])
def test_a_dependent_joins_or_replaces_another_task(
    on_conflict: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unique = Unique("{number}", on_conflict=on_conflict)
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)
    existing = Bill.objects.enqueue(number="7")

    with transaction.atomic():
        [task] = Bill.objects.bulk_enqueue([Bill(number="7").after(step())])

    assert (task.pk == existing.pk) is (on_conflict == "join")
    assert status(task) is (Status.PENDING if on_conflict == "join" else Status.BLOCKED)


def test_tasks_are_unsaved_again_if_those_of_another_model_cannot_be_inserted(
    redis_url: str,
) -> None:
    tasks, taken = [Step(), Step()], Bill(number="7")
    existing = Bill.objects.enqueue(number="7")
    to_enqueue = group(*tasks, taken)

    with pytest.raises(DuplicateTask):
        to_enqueue.enqueue()
    after = [(task.pk, task._state.adding) for task in tasks]
    existing.cancel()
    to_enqueue.enqueue()

    assert after == [(None, True)] * 2
    assert set(map(status, [*tasks, taken])) == {Status.PENDING}


ENDS = {
    "cancel": lambda pk: Step.objects.get(pk=pk).cancel(),
    "delete": lambda pk: Step.objects.get(pk=pk).delete(),
    "success": lambda pk: succeed(Step.objects.get(pk=pk)),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_prerequisite_that_ends_while_it_is_inserted_is_counted(
    how: str, is_new: bool, listen: Callable[..., None], redis_url: str
) -> None:
    first, other, after = Step() if is_new else step(), Step(), Invoice()

    def end(task: Any, event: Any, **_: Any) -> None:
        if event.kind == EventKind.ENQUEUE and task is (first if is_new else after):
            ENDS[how](first.pk)

    listen(end, event_recorded)
    group(first, other).then(after).enqueue()
    between = status(after)
    succeed(other)

    failed = how != "success"
    assert between is (Status.CANCELED if failed else Status.BLOCKED)
    assert status(after) is (Status.CANCELED if failed else Status.PENDING)


def test_a_task_that_a_receiver_deletes_takes_part_in_nothing(
    listen: Callable[..., None],
) -> None:
    def delete(task: Any, event: Any, **_: Any) -> None:
        if event.kind == EventKind.ENQUEUE:
            task.delete()

    listen(delete, event_recorded)
    with pytest.raises(TaskGone):
        chain(Step(), Invoice()).enqueue()

    assert not Step.objects.exists()


def statements_of(count: int, django_assert_max_num_queries: Any) -> int:
    with django_assert_max_num_queries(1000) as queries:
        group(*(Step() for _ in range(count))).then(Invoice()).enqueue()
    return len(queries)


def test_a_group_is_inserted_in_batches(django_assert_max_num_queries: Any) -> None:
    few, many = (statements_of(n, django_assert_max_num_queries) for n in (2, 402))

    # SQLite takes 999 parameters a statement.
    assert many - few < (25 if connection.vendor == "sqlite" else 10)
    assert TaskDependent.objects.count() == 2

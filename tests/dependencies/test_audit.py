"""The audit finds tasks that wait in vain, and ends that were not counted, and repairs both."""

from typing import Any

import pytest

from django_simpletask3.audit.check import audit
from django_simpletask3.dependencies.tables import (
    GroupState,
    LinkState,
    PrerequisiteGroup,
    TaskDependent,
    TaskPrerequisite,
)
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import Status
from tests.dependencies.steps import dependent_on, fail, status, step, succeed
from tests.steps import kinds
from tests.testapp.models import Invoice, Step

pytestmark = pytest.mark.django_db(transaction=True)


def findings(*, repair: bool = False) -> list[tuple[str, str, bool]]:
    return [
        (found.task, found.detail, found.repaired)
        for model in (Invoice, Step)
        for found in audit(model, "default", repair=repair)
    ]


def test_nothing_is_found_whatever_happens_to_dependents(redis_url: str) -> None:
    first, second, third, fourth = (step() for _ in range(4))
    for on_failure in ("cancel", "run", "wait"):
        dependent_on(first, second, on_failure=on_failure)
        dependent_on(first, on_failure=on_failure)
        dependent_on(third, on_failure=on_failure).cancel()
        dependent_on(fourth, on_failure=on_failure).delete()
    succeed(first)
    fail(second)
    third.cancel()
    fourth.delete()
    Invoice().save()

    assert findings() == []


@pytest.mark.parametrize("what", [PrerequisiteGroup, TaskDependent, TaskPrerequisite])
def test_a_dependent_that_would_wait_for_ever_is_unblocked(what: Any, redis_url: str) -> None:
    first = step()
    task = dependent_on(first)
    what.objects.all().delete()
    if what is TaskPrerequisite:  # the group knows that it waits for one
        PrerequisiteGroup.objects.update(state=GroupState.SERVED, missing=0)

    found = findings(repair=True)

    text = "it waits for a group that will not release it"
    assert found == [(str(task.pk), text, True)]
    assert status(task) is Status.PENDING
    assert kinds(task) == ["enqueue", "block", "unblock"]
    assert findings() == []


@pytest.mark.parametrize("end", [succeed, fail, lambda task: task.delete()])
def test_an_end_that_was_not_counted_is_counted(end: Any, redis_url: str) -> None:
    first = step()
    key = first.pk
    task, other = dependent_on(first, on_failure="run"), dependent_on(first, on_failure="wait")
    waiting = list(TaskPrerequisite.objects.values())
    groups = list(PrerequisiteGroup.objects.values())
    end(first)
    TaskPrerequisite.objects.all().delete()
    TaskPrerequisite.objects.bulk_create(TaskPrerequisite(**row) for row in waiting)
    for group in groups:
        PrerequisiteGroup.objects.filter(pk=group["id"]).update(**group)
    TaskDependent.objects.update(state=0)
    for pk in (task.pk, other.pk):
        Invoice.objects.get(pk=pk).reset()
        Invoice.objects.get(pk=pk).block()
    TaskDependent.objects.update(state=0)

    found = findings(repair=True)

    assert found == [(str(key), "tasks wait for it, and its end was not counted", True)]
    assert status(task) is Status.PENDING
    assert set(TaskPrerequisite.objects.values_list("state", flat=True)) <= {
        LinkState.FAILED,
        LinkState.SUCCEEDED,
    }
    assert findings() == []


def test_a_repair_writes_no_more_than_it_says(redis_url: str) -> None:
    tasks = [dependent_on(step()), dependent_on(step())]
    TaskDependent.objects.filter(task_key=str(tasks[0].pk)).delete()

    findings(repair=True)

    assert [status(task) for task in tasks] == [Status.PENDING, Status.BLOCKED]
    assert rows_of(Invoice, "default").count() == 2

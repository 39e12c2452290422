"""Nothing is left of groups whose dependents were deleted."""

import pytest

from django_simpletask3.dependencies import group
from django_simpletask3.dependencies.tables import (
    DependentState,
    GroupState,
    PrerequisiteGroup,
    TaskDependent,
    TaskPrerequisite,
)
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery.dependents import delete_unused_groups, serve_all
from django_simpletask3.states import Status
from tests.dependencies.steps import dependent_on, status, step, succeed
from tests.testapp.models import Invoice, Step

pytestmark = pytest.mark.django_db(transaction=True)


def counts() -> list[int]:
    return [model.objects.count() for model in (PrerequisiteGroup, TaskPrerequisite, TaskDependent)]


def test_a_group_is_deleted_with_its_last_dependent(redis_url: str) -> None:
    first, second, *_ = group(Step(), Step()).then(Invoice(), Invoice()).enqueue()
    kept = dependent_on(first)
    succeed(first, second)
    tasks = list(Invoice.objects.exclude(pk=kept.pk))
    found = [counts()]
    for task in tasks:
        task.delete()
        delete_unused_groups()
        found.append(counts())

    assert found == [[2, 3, 3], [2, 3, 2], [1, 1, 1]]
    assert list(kept.prerequisites) == [first]


def test_rows_that_were_deleted_by_other_means_are_found(redis_url: str) -> None:
    task = dependent_on(step())
    rows_of(Invoice, "default").filter(pk=task.pk)._raw_delete("default")

    assert delete_unused_groups() == 1
    assert counts() == [0, 0, 0]


def test_a_key_of_a_deleted_dependent_can_be_used_again(redis_url: str) -> None:
    first = step()
    pk = dependent_on(first).pk
    Invoice.objects.get(pk=pk).delete()

    task = Invoice(pk=pk).after(first)
    task.save()
    found = counts()
    succeed(first)

    assert found == [1, 1, 1]
    assert status(task) is Status.PENDING


def test_deleted_prerequisites_stay_in_the_count(redis_url: str) -> None:
    first = step()
    task = dependent_on(first, on_failure="wait")
    first.delete()

    assert delete_unused_groups() == 0
    assert task.prerequisites.count() == 1
    assert status(task)


def test_dependents_that_only_newer_nodes_know_are_left_to_these(redis_url: str) -> None:
    first = step()
    task = dependent_on(first)
    group_id = TaskDependent.objects.get().group_id
    TaskDependent.objects.create(group_id=group_id, model="new.Task", task_key="1")

    succeed(first)
    serve_all()
    delete_unused_groups()

    assert status(task) == Status.PENDING
    assert TaskDependent.objects.get(model="new.Task").state == DependentState.WAITING
    assert PrerequisiteGroup.objects.get().state == GroupState.TO_BE_SERVED

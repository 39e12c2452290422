"""What a task waits for is known to its function, to people, and in the admin."""

from typing import Any

import pytest

from django_simpletask3.dependencies import group
from django_simpletask3.models.explanation.causes import explain
from django_simpletask3.models.explanation.sentences import Cause
from tests.dependencies.steps import dependent_on, fail, step, succeed
from tests.steps import apply_kinds, create_task
from tests.testapp.models import Invoice, LargeStep, QuickStep, Step

pytestmark = pytest.mark.django_db(transaction=True)


def test_prerequisites_have_results_and_are_in_order() -> None:
    *members, task = group(Step(), QuickStep(), step(), LargeStep()).then(Invoice()).enqueue()
    for number, member in enumerate(members):
        apply_kinds(member, "start")
        apply_kinds(member, "ack", result=number)

    found = list(Invoice.objects.get(pk=task.pk).prerequisites)

    assert found == members
    assert [prerequisite.result_data for prerequisite in found] == [0, 1, 2, 3]
    assert list(map(type, found)) == [Step, QuickStep, Step, LargeStep]


def test_prerequisites_that_failed_are_those_that_are_failed_now() -> None:
    first, second, third = step(), step(), step()
    task = dependent_on(first, second, third, on_failure="run")
    fail(first, second)
    third.delete()
    first.reset()

    assert task.prerequisites.failed() == [second]
    assert task.prerequisites.count() == 3


def test_prerequisites_are_read_in_batches(django_assert_num_queries: Any) -> None:
    *_, task = group(*(Step() for _ in range(501))).then(Invoice()).enqueue()

    # The keys; of each batch the models, as which they were saved, and the rows.
    with django_assert_num_queries(1 + 2 * 2):
        assert len(list(task.prerequisites)) == 501


def test_a_task_without_prerequisites_has_none() -> None:
    assert list(create_task(Invoice).prerequisites) == []


def test_an_explanation_counts(django_assert_max_num_queries: Any) -> None:
    first, second, third = step(), step(), step()
    task = dependent_on(first, second, third, on_failure="run")
    before = task.explain()
    fail(first)
    succeed(second)

    with django_assert_max_num_queries(4):
        found = explain(task)

    assert before.startswith("It waits for 3 of 3 tasks since 20")
    assert found.cause is Cause.WAITS_FOR_TASKS
    assert str(found).startswith("It waits for 1 of 3 tasks since 20")
    assert str(found).endswith("; 1 failed.")


@pytest.mark.parametrize("way", ["reset", "delete"])
def test_one_that_is_tried_again_has_not_failed(way: str) -> None:
    bad, good, other = step(), step(), step()
    task = dependent_on(bad, good, other, on_failure="wait")
    fail(bad, other)
    before = task.explain()
    getattr(bad, way)()

    assert before.startswith("It waits for 3 of 3 tasks since 20")
    assert before.endswith("; 2 failed.")
    assert task.explain().endswith("; 1 failed." if way == "reset" else "; 2 failed.")


@pytest.mark.parametrize("way", ["cancel", "fail", "erased", "delete"])
def test_one_that_was_canceled_says_which_prerequisite_failed(way: str) -> None:
    good, bad = step(), step()
    task = dependent_on(good, bad)
    apply_kinds(bad, "start")
    if way in ("cancel", "delete"):
        bad.cancel()
    else:
        error = {"type": "ValueError", "message": "no such page"}
        apply_kinds(bad, "fail", error_data=error)
    name = f"testapp.Step {bad.pk}"
    if way == "erased":
        bad.erase()
    elif way == "delete":
        bad.delete()

    assert explain(task).cause is Cause.CANCELED
    assert (
        task.explain().partition(", ")[2]
        == {
            "cancel": f"because {name} was canceled, for which it waited.",
            "fail": f"because {name} failed, for which it waited: ValueError: no such page",
            "erased": f"because {name} failed, for which it waited.",
            "delete": "because a task failed for which it waited.",
        }[way]
    )


def test_one_that_is_blocked_for_another_reason_says_that() -> None:
    task = dependent_on(step())
    task.reset()
    task.block("lunch")

    assert "lunch" in task.explain()

"""A task that was saved after() others starts when these have ended."""

from typing import Any

import pytest

from django_simpletask3.exceptions import TaskGone
from django_simpletask3.states import EventKind, Status
from tests.dependencies.steps import (
    FAILURES,
    dependent_on,
    fail,
    group_of,
    status,
    step,
    succeed,
)
from tests.steps import apply_kinds, create_task, has_message, kinds, stream_of
from tests.testapp.models import Everywhere, Invoice, LargeStep, QuickStep, Step

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_dependent_waits_for_all_its_prerequisites(redis_url: str) -> None:
    first, second = step(), step()
    task = dependent_on(first, second)

    succeed(first)
    between = status(task), has_message(task)
    succeed(second)

    assert between == (Status.BLOCKED, False)
    assert status(task) is Status.PENDING
    assert has_message(task)
    assert kinds(task) == ["enqueue", "block", "unblock"]


def test_the_events_name_the_group(redis_url: str) -> None:
    first = step()
    task = dependent_on(first)

    succeed(first)

    group = group_of(task).pk
    assert [(event.data or {}).get("group") for event in stream_of(task)] == [None, group, group]
    assert kinds(first)[1] == "note"


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [("cancel", Status.CANCELED), ("run", Status.BLOCKED), ("wait", Status.BLOCKED)],
)
def test_a_failure_is_handled_at_once(
    how: str, on_failure: str, expected: Status, redis_url: str
) -> None:
    first, second = step(), step()
    task = dependent_on(first, second, on_failure=on_failure)

    FAILURES[how](first)

    assert status(task) is expected


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [("cancel", Status.CANCELED), ("run", Status.PENDING), ("wait", Status.BLOCKED)],
)
def test_a_failure_decides_when_all_have_ended(
    how: str, on_failure: str, expected: Status, redis_url: str
) -> None:
    first, second = step(), step()
    task = dependent_on(first, second, on_failure=on_failure)

    FAILURES[how](first)
    succeed(second)

    assert status(task) is expected


def test_a_dependent_that_waits_after_a_failure_runs_when_that_was_mended(redis_url: str) -> None:
    first, second = step(), step()
    task = dependent_on(first, second, on_failure="wait")
    fail(first)
    succeed(second)

    first.reset()
    before = status(task), group_of(task).missing, group_of(task).failed
    succeed(first)

    assert before == (Status.BLOCKED, 1, 1)
    assert status(task) is Status.PENDING
    assert (group_of(task).missing, group_of(task).failed) == (0, 0)


@pytest.mark.parametrize("on_failure", ["cancel", "run", "wait"])
def test_without_prerequisites_it_runs_at_once(on_failure: str, redis_url: str) -> None:
    task = dependent_on(on_failure=on_failure)

    assert kinds(task) == ["enqueue"]
    assert has_message(task)


@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [("cancel", Status.CANCELED), ("run", Status.PENDING), ("wait", Status.BLOCKED)],
)
def test_what_has_ended_before_counts(on_failure: str, expected: Status, redis_url: str) -> None:
    first, second = step(), step()
    succeed(first)
    fail(second)

    task = dependent_on(first, second, on_failure=on_failure)

    assert status(task) is expected


def test_a_prerequisite_that_succeeds_again_is_counted_once(redis_url: str) -> None:
    first, second = step(), step()
    task = dependent_on(first, second)

    succeed(first)
    first.reset()
    succeed(first)

    assert status(task) is Status.BLOCKED
    assert group_of(task).missing == 1


def test_two_instances_of_a_row_are_one_prerequisite(redis_url: str) -> None:
    first = step()
    task = dependent_on(first, Step.objects.get(pk=first.pk))

    succeed(first)

    assert status(task) is Status.PENDING


@pytest.mark.parametrize("model", [QuickStep, LargeStep])
def test_proxies_and_children_are_awaited_and_wait(model: Any, redis_url: str) -> None:
    first = create_task(model)
    task = dependent_on(first, model=model)

    succeed(Step.objects.get(pk=first.pk))

    assert status(task) is Status.PENDING
    assert has_message(task)


def test_tasks_saved_in_bulk_wait(redis_url: str) -> None:
    first, second = step(), step()
    tasks = Invoice.objects.bulk_create(
        [Invoice().after(first), Invoice(), Invoice().after(second)]
    )

    succeed(first)

    assert list(map(status, tasks)) == [Status.PENDING, Status.PENDING, Status.BLOCKED]


def test_a_released_task_may_be_due_later(redis_url: str) -> None:
    from datetime import timedelta

    from django.utils import timezone

    first = step()
    task = Invoice(run_after=timezone.now() + timedelta(hours=1)).after(first)
    task.save()

    succeed(first)

    assert status(task) is Status.PENDING
    assert not has_message(task)


def test_a_task_of_another_database_is_refused() -> None:
    with pytest.raises(ValueError, match="use one database"):
        Everywhere().after(step()).save(using="other")

    assert not Everywhere.objects.using("other").exists()


def test_a_model_that_cannot_be_awaited_is_refused() -> None:
    with pytest.raises(TypeError, match="django_simpletask3_can_be_awaited = True"):
        Invoice().after(create_task(Invoice))
    with pytest.raises(TypeError, match="not for 7: write group"):
        Invoice().after(7)  # type: ignore[arg-type]


def test_only_new_tasks_wait_for_saved_ones() -> None:
    with pytest.raises(ValueError, match="save it first"):
        Invoice().after(Step())
    with pytest.raises(ValueError, match="before save"):
        create_task(Invoice).after(step())
    with pytest.raises(ValueError, match="in one call"):
        Invoice().after(step()).after(step())
    with pytest.raises(ValueError, match="not both"):
        Invoice.objects.bulk_enqueue([Invoice().after(step())], blocked=True)


def test_a_prerequisite_that_was_deleted_is_refused() -> None:
    first = step()
    task = Invoice().after(first)
    Step.objects.get(pk=first.pk).delete()

    with pytest.raises(TaskGone):
        task.save()

    assert not Invoice.objects.exists()


def test_a_stale_acknowledgment_is_counted(redis_url: str) -> None:
    """A worker that read the row before the dependent was saved."""
    from django_simpletask3.transitions.best_effort import apply_each
    from django_simpletask3.transitions.transition import Transition, known_row

    first = apply_kinds(step(), EventKind.START)
    ack = Transition(first, EventKind.ACK, worker="w1", last_known_row=known_row(first))
    task = dependent_on(Step.objects.get(pk=first.pk))

    apply_each([ack])

    assert status(task) is Status.PENDING


def test_a_repeated_acknowledgment_is_counted_once(redis_url: str) -> None:
    from django_simpletask3.transitions.best_effort import apply_each
    from django_simpletask3.transitions.transition import Transition

    first, second = apply_kinds(step(), EventKind.START), step()
    task = dependent_on(first, second)

    for _ in range(2):
        ack = Transition(first, EventKind.ACK, worker="w1", expected={"status": 10, "attempt": 1})
        apply_each([ack])
        assert ack.event

    assert group_of(task).missing == 1
    assert status(task) is Status.BLOCKED

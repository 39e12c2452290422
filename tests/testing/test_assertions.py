"""Assertions about tasks, and what they say."""

from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.states import EventKind
from django_simpletask3.testing import (
    TaskAssertions,
    assertEnqueued,
    assertNoTasksLeft,
    assertNotEnqueued,
    assertTaskEvents,
    run_tasks,
)
from tests.steps import create_task
from tests.testapp.models import Customer, Elsewhere, ForeignInvoice, Invoice, PaidInvoice, Reminder

pytestmark = pytest.mark.django_db


def message_of(assertion: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        assertion(*args, **kwargs)
    return str(raised.value)


@pytest.fixture
def failed_task(db: None) -> Any:
    task = create_task(Invoice, amount=3, fails=True)
    run_tasks()
    return task


@pytest.mark.parametrize(
    "expected",
    [
        ["enqueue", "start", "fail"],
        [EventKind.ENQUEUE, EventKind.START, EventKind.FAIL],
        [...],
        ["enqueue", ...],
        [..., "fail"],
        ["enqueue", ..., "start", ..., "fail"],
    ],
)
def test_the_events_are_as_expected(failed_task: Any, expected: list[Any]) -> None:
    assertTaskEvents(failed_task, *expected)


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        (
            ["enqueue", "start", "ack"],
            ["    enqueue", "    start", "  - ack", "  + fail {error}"],
        ),
        (["enqueue", "start"], ["    enqueue", "    start", "  + fail {error}"]),
        (["enqueue", ..., "ack"], ["    enqueue", "    start", "    fail {error}", "  - ack"]),
        ([..., "start"], ["    enqueue", "    start", "  + fail {error}"]),
        ([], ["  + enqueue", "  + start", "  + fail {error}"]),
    ],
)
def test_a_difference_is_shown(failed_task: Any, expected: list[Any], lines: list[str]) -> None:
    message = message_of(assertTaskEvents, failed_task, *expected)

    error = "ValueError: invoice of 3 cannot be sent"
    first, *rest = message.splitlines()
    assert first.startswith(f"The events of testapp.Invoice {failed_task.pk} are not as expected")
    assert rest == [line.format(error=error) for line in lines]


def test_many_events_may_be_compared() -> None:
    task = create_task(Invoice)

    message = message_of(assertTaskEvents, task, "enqueue", *["note"] * 2000)

    assert message.count("\n  - note") == 2000
    assert "\n    enqueue\n" in message


@pytest.mark.parametrize("wrong", ["enqueued", ["enqueue"], EventKind], ids=str)
def test_a_kind_that_does_not_exist_is_refused_with_the_right_ones(
    failed_task: Any, wrong: Any
) -> None:
    with pytest.raises(
        ValueError, match=r"is no kind of event: give \.\.\. or one of enqueue, "
    ) as e:
        assertTaskEvents(failed_task, wrong, "start", "fail")

    assert "ack, " in str(e.value)


def test_what_is_no_task_is_refused(failed_task: Any) -> None:
    with pytest.raises(TypeError, match=r"^Invoice is no task\.$"):
        assertTaskEvents(Invoice, "enqueue")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Invoice.* is no task model\.$"):
        assertEnqueued(failed_task)
    with pytest.raises(TypeError, match=r"^Customer is no task model\.$"):
        assertNotEnqueued(Customer)  # type: ignore[arg-type]


def test_an_instance_that_has_lost_its_key_is_refused(failed_task: Any) -> None:
    failed_task.delete()

    with pytest.raises(ValueError, match="If it was deleted, give it the key again"):
        assertTaskEvents(failed_task, ..., "delete")


def test_waiting_tasks_are_found_by_their_columns() -> None:
    tasks = [create_task(Invoice, amount=amount) for amount in (1, 2)]
    blocked = Invoice.objects.enqueue(amount=3, blocked=True)

    assert assertEnqueued(Invoice) == [*tasks, blocked]
    assert assertEnqueued(Invoice, count=2, amount__gt=1) == [tasks[1], blocked]
    assertNotEnqueued(Invoice, amount=4)
    assertNotEnqueued(Reminder)


def test_a_model_stands_for_its_subclasses_and_not_for_its_parent() -> None:
    create_task(Invoice)
    paid, foreign = create_task(PaidInvoice), create_task(ForeignInvoice, currency="EUR")

    assertEnqueued(Invoice, count=3)
    assert assertEnqueued(PaidInvoice, count=1) == [paid]
    assert assertEnqueued(ForeignInvoice, count=1, currency="EUR") == [foreign]


def test_a_task_in_another_database_is_found() -> None:
    create_task(Elsewhere)

    assertEnqueued(Elsewhere, count=1)


def test_what_has_run_does_not_wait() -> None:
    create_task(Invoice)
    run_tasks()

    assertNotEnqueued(Invoice)


def test_what_waits_instead_is_shown() -> None:
    task = create_task(Invoice, amount=1)

    assert message_of(assertEnqueued, Invoice, amount=2) == (
        "No testapp.Invoice with amount=2 waits. Those that wait:\n"
        f"  testapp.Invoice {task.pk} PENDING amount=1 fails=False task_biz_field=None"
    )
    assert message_of(assertEnqueued, Reminder) == (
        "No testapp.Reminder waits. None of that model does."
    )
    assert message_of(assertEnqueued, Invoice, count=2).startswith(
        "1, and not 2, of testapp.Invoice wait."
    )
    assert message_of(assertNotEnqueued, Invoice).startswith("testapp.Invoice waits:\n")


def test_tasks_that_are_left_are_shown() -> None:
    task = create_task(Reminder, text="later", run_after=timedelta(hours=1))
    for _ in range(11):
        create_task(Invoice)

    message = message_of(assertNoTasksLeft)

    assert message.startswith("Tasks are left: 12\n  testapp.Invoice ")
    assert message.endswith("\n  and 2 more")
    assert f"run_after={task.run_after}" in message_of(assertNoTasksLeft, Reminder)
    run_tasks(Invoice)
    assertNoTasksLeft(Invoice)


def test_the_assertions_are_methods_of_a_mixin() -> None:
    class Case(TaskAssertions):
        pass

    case = Case()
    task = create_task(Invoice)

    case.assertTaskEvents(task, "enqueue")
    case.assertEnqueued(Invoice, count=1)
    case.assertNotEnqueued(Reminder)
    case.assertNoTasksLeft(Reminder)

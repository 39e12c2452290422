"""The command, as a person starts it."""

from collections.abc import Callable

from tests.zoo.models import Invoice


def kinds(task):
    return [str(kind) for kind in task.events.values_list("kind", flat=True)]


def test_a_saved_task_is_run_and_its_own_columns_are_saved(drain: Callable[..., str]) -> None:
    task = Invoice.objects.create(amount=3)

    print(drain())

    task.refresh_from_db()
    assert task.status == task.SUCCESS
    assert task.result_data == "OK"
    assert task.task_biz_field == "task biz data"
    assert kinds(task) == ["enqueue", "start", "ack"]


def test_a_task_that_raises_has_failed_and_says_why(drain: Callable[..., str]) -> None:
    task = Invoice.objects.create(amount=3, fails=True)

    print(drain())

    task.refresh_from_db()
    assert task.status == task.FAILED
    assert task.error_data["type"] == "ValueError"
    assert "invoice of 3" in task.error_data["message"]
    assert kinds(task) == ["enqueue", "start", "fail"]

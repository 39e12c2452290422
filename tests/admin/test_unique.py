"""The pages and actions of unique tasks."""

from typing import Any

import pytest

from django_simpletask3.limits import Limit
from django_simpletask3.states import Status
from tests.admin.pages import RESET, RETRY, post_action, shown_messages, text, url
from tests.steps import bring_to, kinds, row_of
from tests.testapp.models import Bill, Errand

FORM = {"priority": 0, "number": "7", "amount": 0, "script": "{}"}


def test_a_task_page_shows_the_key(superuser: Any) -> None:
    task = Bill.objects.enqueue(number="7")

    page = superuser.get(url(task))

    assert str(task.unique_key) in text(page)
    assert "unique_key" not in page.context["adminform"].form.fields


def test_a_second_task_is_an_error_of_the_column(superuser: Any) -> None:
    Bill.objects.enqueue(number="7")

    page = superuser.post(url(Bill, "add"), FORM)

    errors = page.context["adminform"].form.errors
    assert errors == {"number": ["There is a task with this key already."]}
    assert Bill.objects.count() == 1


def test_a_limit_that_can_make_no_key_is_an_error_of_the_form(
    superuser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(1, key="{customer:d}"))
    form = {"priority": 0, "customer": "a", "script": "{}"}

    page = superuser.post(url(Errand, "add"), form)

    [error] = page.context["adminform"].form.non_field_errors()
    assert "the key '{customer:d}' cannot be made of customer='a'" in error
    assert not Errand.objects.exists()


def test_a_form_with_a_free_key_adds_the_task(superuser: Any) -> None:
    superuser.post(url(Bill, "add"), FORM)

    task = Bill.objects.get()
    assert (kinds(task), task.unique_key is not None) == (["enqueue"], True)


def test_a_form_of_a_task_does_not_conflict_with_the_task(superuser: Any) -> None:
    task = Bill.objects.enqueue(number="7")

    superuser.post(url(task), {**FORM, "priority": 3})

    assert (row_of(task).priority, row_of(task).unique_key) == (3, task.unique_key)


def test_a_key_that_is_taken_after_the_form_was_read_is_a_message(
    superuser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Bill.objects.enqueue(number="7")
    monkeypatch.setattr(Bill, "validate_unique", lambda *_, **__: None)

    response = superuser.post(url(Bill, "add"), FORM, follow=True)

    message = (
        f"testapp.Bill {first.pk} has the unique key {{number}} = 7 of this task. "
        'Unique(..., on_conflict="join") lets enqueue() return that task.'
    )
    assert shown_messages(response) == [message]
    assert Bill.objects.count() == 1


@pytest.mark.parametrize("action", [RESET, RETRY])
def test_of_many_tasks_that_are_reset_the_others_go_on(superuser: Any, action: Any) -> None:
    failed = [bring_to(Bill.objects.enqueue(number=n), Status.FAILED) for n in "ab"]
    Bill.objects.enqueue(number="a")

    response = post_action(superuser, action, *failed)

    assert shown_messages(response) == [
        "1 task was reset and waits to run again.",
        "1 task was left alone: another task has its unique key.",
    ]
    assert [row_of(task).status for task in failed] == [Status.FAILED, Status.PENDING]

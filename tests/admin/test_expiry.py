"""The pages and actions of tasks that expire."""

from datetime import timedelta

import pytest

from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery.expired_tasks import expire_tasks
from django_simpletask3.states import Status
from tests.admin.pages import (
    EXECUTE,
    EXECUTE_HERE,
    RESET,
    RETRY,
    create_listed_task,
    post_action,
    shown_messages,
    text,
    url,
)
from tests.steps import PAST, bring_to, kinds, row_of, status_of
from tests.testapp.models import FlashOffer, Invoice, Offer

HOUR = timedelta(hours=1)


def test_a_task_page_says_when_the_task_expires(superuser) -> None:
    task = Offer.objects.enqueue(expires=HOUR)

    page = superuser.get(url(task))

    assert "Expires at:" in text(page)
    assert "expires_at" not in page.context["adminform"].form.fields


@pytest.mark.parametrize("model", [Invoice, Offer])
def test_no_other_page_does(superuser, model) -> None:
    page = superuser.get(url(create_listed_task(Invoice)))
    form = superuser.get(url(model, "add"))

    assert "Expires at" not in text(page) + text(form)


def test_a_saved_form_leaves_the_expiry_alone(superuser) -> None:
    task = Offer.objects.enqueue(expires=HOUR)

    superuser.post(
        url(task), {"priority": 3, "script": '{"do": "value"}', "expires_at": "2020-01-01"}
    )

    row = row_of(task)
    assert (row.priority, row.expires_at) == (3, task.expires_at)


def test_a_task_that_is_added_expires_as_its_class_says(superuser) -> None:
    superuser.post(url(FlashOffer, "add"), {"priority": 0})

    task = FlashOffer.objects.get()
    assert timedelta(0) < task.expires_at - task.add_time < timedelta(minutes=2)


def test_an_expired_task_is_not_executed_in_the_web_server(superuser) -> None:
    task = Offer.objects.enqueue(expires=PAST)

    response = post_action(superuser, EXECUTE_HERE, task)

    assert shown_messages(response) == ["1 task was left alone: it has expired."]
    assert kinds(task) == ["enqueue"]


def test_a_task_that_is_executed_now_is_still_looked_at_when_it_expires(superuser) -> None:
    task = Offer.objects.enqueue(expires=30, run_after=HOUR)

    post_action(superuser, EXECUTE, task)

    row = row_of(task)
    assert (row.run_after, row.check_at) == (None, row.expires_at)


@pytest.mark.parametrize("action", [RESET, RETRY])
def test_a_task_that_is_reset_does_not_expire_again(superuser, action) -> None:
    task = bring_to(Offer.objects.enqueue(expires=HOUR), Status.FAILED)

    post_action(superuser, action, task)

    assert row_of(task).expires_at is None
    assert kinds(task)[-1] == "reset"


def test_an_expired_task_can_be_reset(superuser) -> None:
    task = Offer.objects.enqueue(expires=PAST)
    expire_tasks()

    post_action(superuser, RESET, task)

    assert (expire_tasks(), status_of(task)) == (0, Status.PENDING)
    assert rows_of(Offer, "default").due().count() == 1


def test_the_timeline_shows_that_a_task_has_expired(superuser) -> None:
    task = Offer.objects.enqueue(expires=PAST)
    expire_tasks()

    page = text(superuser.get(url(task)))

    assert "expired" in page
    assert task.expires_at.isoformat() in page

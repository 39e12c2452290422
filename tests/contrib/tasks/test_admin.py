"""The pages of function tasks."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_simpletask3.states import Status
from tests.contrib.tasks import steps
from tests.functions import tasks

pytestmark = pytest.mark.django_db

LIST = "admin:django_simpletask3_tasks_functiontask_changelist"
PAGE = "admin:django_simpletask3_tasks_functiontask_change"


@pytest.fixture
def browser(db: None) -> Client:
    client = Client(headers={"accept-language": "en"})
    client.force_login(User.objects.create_superuser("ada"))
    return client


def test_tasks_of_all_queues_are_listed_and_shown(browser: Client) -> None:
    rows = [steps.row_of(result) for result in (tasks.add.enqueue(1), tasks.send.enqueue("ada"))]

    listed = browser.get(reverse(LIST))
    pages = [browser.get(reverse(PAGE, args=[row.pk])) for row in rows]

    assert set(listed.context["cl"].result_list) == set(rows)
    for page, name in zip(pages, ("add", "send"), strict=True):
        assert page.status_code == 200
        assert f"tests.functions.tasks.{name}" in page.content.decode()


def test_a_task_of_a_queue_is_reset_by_an_action(browser: Client) -> None:
    result = tasks.send.enqueue("ada")
    steps.run(result)
    data = {
        "action": "django_simpletask3_reset_for_selected",
        "_selected_action": [steps.row_of(result).pk],
        "django_simpletask3_confirmed": "yes",
    }

    browser.post(reverse(LIST), data)

    assert steps.row_of(result).status == Status.PENDING


def test_no_task_is_added_by_hand(browser: Client) -> None:
    answer: Any = browser.get(reverse("admin:django_simpletask3_tasks_functiontask_add"))

    assert answer.status_code == 403


def test_the_dashboard_has_a_row_for_each_queue(browser: Client) -> None:
    page = browser.get(reverse("admin:django_simpletask3_dashboard_changelist")).content.decode()

    assert "FunctionTask_mail" in page

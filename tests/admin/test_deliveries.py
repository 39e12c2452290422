"""The list of deliveries: one line for each event that a subscriber has not handled."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from django_simpletask3.models import Delivery
from tests.admin.pages import url
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db


def deliver(task: Invoice, due: datetime | None, **columns: Any) -> Delivery:
    columns = {"sequence": 1, "kind": "fail", "event_time": timezone.now(), **columns}
    key = {"model": "testapp.Invoice", "task_key": str(task.pk), "subscription": "crm"}
    return Delivery.objects.create(**key, due_time=due, **columns)


def cells(client: Client) -> list[str]:
    """What the only row shows, without its tags; the box to select it is left out."""
    page = client.get(url(Delivery)).content.decode()
    found = re.findall(r"<t[hd][^>]* role=\"(?:cell|rowheader).*?</t[hd]>", page, re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in found]
    return texts if texts[0] else texts[1:]


def test_one_that_is_tried_again_says_when_and_why(superuser: Client) -> None:
    task = Invoice.objects.create()
    soon = timezone.now() + timedelta(minutes=6, seconds=5)
    deliver(task, soon, attempts=3, last_error="Traceback\nConnectionError: refused")

    subscription, status, name, event, error, attempts, next_try = cells(superuser)

    assert (subscription, status, event) == ("crm", "scheduled", "failed")
    assert name == f"testapp.Invoice {task.pk}"
    assert (error, attempts) == ("ConnectionError: refused", "3")
    assert next_try.endswith(", in 6 min")


def test_one_that_is_due_waits(superuser: Client) -> None:
    deliver(Invoice.objects.create(), timezone.now() - timedelta(minutes=5, seconds=5))

    shown = cells(superuser)

    assert shown[1] == "waiting"
    assert re.fullmatch(r"since (\d+ \w+ )?\d\d:\d\d", shown[-1])


def test_one_that_failed_too_often_is_given_up(superuser: Client) -> None:
    deliver(Invoice.objects.create(), None)

    shown = cells(superuser)

    assert (shown[1], shown[-1]) == ("given up", "")


def test_the_task_is_a_link_for_those_who_may_view_it(superuser: Client, staff: Any) -> None:
    task = Invoice.objects.create()
    deliver(task, None)
    Delivery.objects.create(
        subscription="s",
        model="gone.Model",
        task_key="1",
        sequence=1,
        kind="ack",
        event_time=timezone.now(),
    )
    link = f'<a href="{url(task)}">testapp.Invoice {task.pk}</a>'
    client = staff()
    permission = Permission.objects.get(codename="view_delivery")
    User.objects.get(username="mia").user_permissions.add(permission)

    assert link in superuser.get(url(Delivery)).content.decode()
    assert link not in client.get(url(Delivery)).content.decode()
    assert "gone.Model 1" in client.get(url(Delivery)).content.decode()


def test_an_empty_list_says_that_all_is_well(superuser: Client) -> None:
    page = superuser.get(url(Delivery)).content.decode()

    assert "No delivery waits" in page
    assert 'id="result_list"' not in page
